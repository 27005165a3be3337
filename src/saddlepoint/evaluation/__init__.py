"""Evaluations that survive: a specification, per-example records on disk, and what follows from them."""
