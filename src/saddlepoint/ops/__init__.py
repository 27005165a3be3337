"""Tensor functions that know nothing of attacks: norms, projections, losses, statistics."""
