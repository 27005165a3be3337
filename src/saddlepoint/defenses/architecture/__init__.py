"""Defenses that change the network."""
