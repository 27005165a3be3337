"""Defenses that change the input before the network sees it."""
