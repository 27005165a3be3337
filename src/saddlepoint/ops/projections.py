"""Nearest points, in the Euclidean sense, of a ball intersected with a box around the origin.

All take `delta` (b, *shape), a radius for all rows or one a row, and the box `low <= 0 <= high` of the same shape, and
return the exact projection, so that a step which the box cuts short is used up along the other coordinates.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from saddlepoint.ops.norms import expand_as, l1, l2, pixels

Rows = Float[Tensor, "b *shape"]
Radii = float | Float[Tensor, " b"]


def onto_linf(delta: Rows, eps: Radii, low: Rows, high: Rows) -> Rows:
    """Coordinate by coordinate."""
    if isinstance(eps, Tensor):
        return delta.clamp((-expand_as(eps, delta)).maximum(low), expand_as(eps, delta).minimum(high))
    return delta.clamp(-eps, eps).clamp(low, high)


def onto_l2(delta: Rows, eps: Radii, low: Rows, high: Rows) -> Rows:
    """The projection is clip(s * delta) for one s in [0, 1] a row; s is found by fixing the clipped coordinates.

    Variable fixing for the continuous quadratic knapsack: Bitran and Hax, "Disaggregation and resource allocation
    using convex knapsack problems with bounded variables", Management Science 27(4), 1981. Every round either adds a
    coordinate to the clipped set or ends, so the loop is finite. The first set is of an s too large, from which one round
    leads to one too small, since what is spent is concave in s squared; two to four rounds are usual.
    """
    clipped = delta.clamp(low, high)
    length = l2(clipped)
    outside = length > eps
    if not outside.any():
        return clipped
    size, room = delta.abs(), _room(delta, low, high)
    most, tiny = torch.finfo(delta.dtype).max, torch.finfo(delta.dtype).tiny
    taken, weight = room.square().clamp_max(most).flatten(1), size.square().flatten(1)

    def scale_of(free: Tensor) -> Tensor:
        """What scales the free coordinates to the length that the clipped ones leave."""
        left = eps**2 - (taken * (1 - free)).sum(1)
        return (left.clamp_min(0) / (weight * free).sum(1).clamp_min(tiny)).sqrt().clamp_max(1)

    def inside(scale: Tensor) -> Tensor:
        """(b, d) 1 where a coordinate is not clipped at that scale, else 0: numbers, since a choice by mask costs more."""
        return ((room - size * expand_as(scale, delta)).sign() + 1).clamp_max(1).flatten(1)

    free = inside(scale_of(inside(eps / length.clamp_min(tiny))))
    while True:
        scale = scale_of(free)
        rest = free * inside(scale)
        if not ((free - rest).amax(1) > 0)[outside].any():
            break
        free = rest
    scale = torch.where(outside, scale, 1)
    return (delta * expand_as(scale, delta)).clamp(low, high)


def onto_l1(delta: Rows, eps: Radii, low: Rows, high: Rows) -> Rows:
    """Soft threshold, clipped to the box; the threshold is read off the sorted breakpoints.

    Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", ICML 2021.
    """
    clipped = delta.clamp(low, high)
    outside = l1(clipped) > eps
    if not outside.any():
        return clipped
    magnitude = delta.abs().flatten(1)
    room = _room(delta, low, high).flatten(1)
    # As the threshold falls from a coordinate's |delta|, the coordinate grows until it has used its room.
    breakpoints, order = torch.cat([magnitude, (magnitude - room).clamp_min(0)], dim=1).sort(dim=1, descending=True)
    slope = torch.where(order < magnitude.shape[1], 1.0, -1.0).to(delta.dtype).cumsum(dim=1)
    gaps = breakpoints - torch.cat([breakpoints[:, 1:], torch.zeros_like(breakpoints[:, :1])], dim=1)
    norm = (slope * gaps).cumsum(dim=1)  # l1 norm when the threshold reaches the next breakpoint
    column = _column(eps)
    at = (norm < column).sum(dim=1, keepdim=True).clamp_max(norm.shape[1] - 1)
    before = torch.where(at > 0, norm.gather(1, (at - 1).clamp_min(0)), 0)
    threshold = breakpoints.gather(1, at) - (column - before) / slope.gather(1, at).clamp_min(1)
    shrunk = (magnitude - threshold.clamp_min(0)).clamp_min(0).minimum(room).view_as(delta) * delta.sign()
    shrunk = shrunk.clamp(low, high)
    shrunk = shrunk * expand_as((eps / l1(shrunk).clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1), delta)
    return torch.where(expand_as(outside, delta), shrunk, clipped)


def onto_l0(delta: Rows, eps: Radii, low: Rows, high: Rows) -> Rows:
    """Keep the pixels that save the most squared distance, clipped to the box; zero the others."""
    clipped = delta.clamp(low, high)
    saved = pixels(delta.square() - (delta - clipped).square()).sum(dim=1)  # (b, pixels)
    most = max(eps.tolist(), default=0.0) if isinstance(eps, Tensor) else eps
    if most >= saved.shape[1] and not isinstance(eps, Tensor):
        return clipped
    kept = saved.topk(int(min(most, saved.shape[1])), dim=1).indices
    rank = torch.arange(kept.shape[1], device=delta.device).expand_as(kept)
    keep = torch.zeros_like(saved, dtype=torch.bool)
    keep.scatter_(1, kept, rank < _column(eps))
    return (pixels(clipped) * keep.unsqueeze(1)).view_as(delta)


def _room(delta: Rows, low: Rows, high: Rows) -> Rows:
    """How far every coordinate may go the way it goes; zero where it goes nowhere."""
    return (delta.sign() * torch.finfo(delta.dtype).max).clamp(low, high).abs()


def _column(eps: Radii) -> float | Float[Tensor, "b 1"]:
    return eps[:, None] if isinstance(eps, Tensor) else eps
