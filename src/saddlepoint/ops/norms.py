"""Norms of a batch of examples, one number a row."""

import torch
from jaxtyping import Float
from torch import Tensor


def expand_as(values: Tensor, like: Tensor) -> Tensor:
    """Append axes of length one to `values` (b,) until it broadcasts over `like` (b, ...)."""
    return values.reshape(values.shape + (1,) * (like.dim() - values.dim()))


def linf(delta: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    """Largest absolute change of a row."""
    return delta.flatten(1).abs().amax(dim=1)


def l2(delta: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    """Euclidean length of a row."""
    return torch.linalg.vector_norm(delta.flatten(1), dim=1)


def l1(delta: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    """Sum of absolute changes of a row."""
    return delta.abs().flatten(1).sum(dim=1)


def l0(delta: Float[Tensor, "b *shape"]) -> Float[Tensor, " b"]:
    """Number of changed pixels; a pixel of a (c, h, w) image changes when any of its channels does."""
    return pixels(delta != 0).any(dim=1).sum(dim=1).to(delta.dtype)


def pixels(rows: Tensor) -> Tensor:
    """View (b, *shape) as (b, channels, pixels): images keep their channels, other shapes have one."""
    return rows.flatten(2) if rows.dim() == 4 else rows.flatten(1).unsqueeze(1)


def unit(direction: Float[Tensor, "b *shape"], norm: Float[Tensor, " b"]) -> Float[Tensor, "b *shape"]:
    """Divide every row by its norm; a zero row stays zero."""
    tiny = torch.finfo(direction.dtype).tiny
    return direction / expand_as(norm.clamp_min(tiny), direction)
