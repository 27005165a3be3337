"""Inputs of any shape as images."""

import math

import torch
from torch import Tensor


def as_image(x: Tensor) -> tuple[int, int, int]:
    """Channels, height and width; what is not an image is one channel of one row."""
    return (x.shape[1], x.shape[2], x.shape[3]) if x.dim() == 4 else (1, 1, math.prod(x.shape[1:]))


def cosines(n: int, share: float, like: Tensor) -> Tensor:
    """(m, n) waves along an axis of length n, the lowest `share` of frequencies (DCT-II): orthonormal rows, in double."""
    at = torch.arange(n, dtype=torch.float64, device=like.device) + 0.5
    frequency = torch.arange(math.ceil(share * n), dtype=torch.float64, device=like.device)
    waves = (math.pi / n * frequency[:, None] * at).cos()
    return waves / waves.norm(dim=1, keepdim=True)
