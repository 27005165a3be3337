"""Inputs of any shape as images."""

import math

from torch import Tensor


def as_image(x: Tensor) -> tuple[int, int, int]:
    """Channels, height and width; what is not an image is one channel of one row."""
    return (x.shape[1], x.shape[2], x.shape[3]) if x.dim() == 4 else (1, 1, math.prod(x.shape[1:]))
