"""Attacks that see only answers."""
