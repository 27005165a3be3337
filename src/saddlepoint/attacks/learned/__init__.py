"""Attacks learned on some examples and played on others."""
