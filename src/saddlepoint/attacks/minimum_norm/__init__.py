"""Attacks that look for the smallest change, by gradients."""
