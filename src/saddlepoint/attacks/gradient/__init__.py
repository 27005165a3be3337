"""Attacks that follow gradients inside a given set."""
