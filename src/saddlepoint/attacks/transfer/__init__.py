"""Attacks on a model by way of another one, imitations of a model that only answers, and tables of what transfers."""
