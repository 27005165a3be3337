"""Experiments that show why adversarial inputs exist, with numbers and pictures."""
