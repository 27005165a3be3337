"""Inputs on a grid of values, as image files hold them."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saddlepoint.ops.norms import expand_as

Batch = Float[Tensor, "b *shape"]
Bounds = tuple[float, float]


def level(x: Batch, levels: int, bounds: Bounds) -> Batch:
    """The level of every value, 0 to `levels` - 1, not yet rounded."""
    low, high = bounds
    return (x - low) / (high - low) * (levels - 1)


def value(number: Batch, levels: int, bounds: Bounds) -> Batch:
    """The values of whole levels: for bounds (0, 1) and 256 levels, bit for bit what an 8-bit image loads as."""
    low, high = bounds
    return number / (levels - 1) * (high - low) + low


def rounded(
    x: Batch, x_adv: Batch, levels: int, bounds: Bounds, legal: Callable[[Batch], Bool[Tensor, " b"]] | None = None
) -> Batch:
    """The nearest point of the grid to `x_adv`; where that is not `legal`, with more values rounded toward `x`.

    `x` is on the grid, so a value rounded toward it changes less than it did, whatever the norm.
    """
    start = level(x, levels, bounds).round()
    move = level(x_adv, levels, bounds) - start
    best = value(start + move.round(), levels, bounds)
    for share in (0.6, 0.7, 0.8, 0.9, 1.0) if legal else ():  # of a level that a value must have gone to be rounded away
        outside = ~legal(best)  # type: ignore[misc]  # not None inside this loop
        if not outside.any():
            break
        whole = move.abs().floor()
        kept = move.sign() * (whole + ((move.abs() - whole) >= share))
        best = torch.where(expand_as(outside, best), value(start + kept, levels, bounds), best)
    return best


def on_grid(x: Batch, levels: int, bounds: Bounds) -> Bool[Tensor, " b"]:
    """Whether all values of a row lie on the grid, up to a thousandth of a level."""
    number = level(x, levels, bounds)
    return ((number - number.round()).abs() < 1e-3).flatten(1).all(1)
