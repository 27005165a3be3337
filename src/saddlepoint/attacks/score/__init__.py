"""Attacks that see only scores."""
