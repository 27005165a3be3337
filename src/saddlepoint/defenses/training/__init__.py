"""Defenses that train the network in another way."""
