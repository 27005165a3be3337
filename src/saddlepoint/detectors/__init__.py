"""Detectors: scores of how suspicious an input is."""
