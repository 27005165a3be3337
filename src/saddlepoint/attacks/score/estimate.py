"""Gradients estimated from scores alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.ops.norms import expand_as

NUMBERS_AT_ONCE = 1 << 17  # random numbers a row and query, so that memory does not grow with the number of samples


def slope(
    game: Game, delta: Tensor, value: Callable[[Tensor], Tensor], draw: Callable[..., Tensor], pairs: int, radius: float
) -> Tensor:
    """Gradient of `value` at delta (b, *shape), from antithetic pairs of probes.

    `draw(m, *shape)` gives directions (b, m, *shape), and `value` answers probes of that shape with (b, m). A
    probe is centered on x + delta and clipped to the bounds, so that it is a candidate, too.
    """
    low, high = game.model.bounds
    x, total = game.x[:, None], torch.zeros_like(delta)
    part = max(1, min(pairs, NUMBERS_AT_ONCE // max(1, delta.shape[1:].numel())))
    for done in range(0, pairs, part):
        u = draw(min(part, pairs - done), *delta.shape[1:])
        probes = (x + delta[:, None] + radius * torch.cat([u, -u], dim=1)).clamp(low, high) - x
        up, down = value(probes).chunk(2, dim=1)
        total = total + torch.einsum("bm,bm...->b...", (up - down).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), u)
    return total / (2 * radius * pairs)


def adam(rows: Rows, gradient: Tensor, k: int) -> Tensor:
    """What to subtract in the k-th step of size one, counted from one; the moments are columns of `rows`."""
    rows.mean, rows.square = 0.9 * rows.mean + 0.1 * gradient, 0.999 * rows.square + 0.001 * gradient.square()
    return rows.mean / (1 - 0.9**k) / ((rows.square / (1 - 0.999**k)).sqrt() + 1e-8)


def choose(where: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` in the rows `where`, else `other`."""
    return torch.where(expand_as(where, one), one, other)
