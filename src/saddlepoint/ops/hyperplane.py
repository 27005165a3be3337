"""The smallest change within a box that carries a linear function all the way to a given value.

All take `weight` (b, *shape), `gain` (b,) of either sign and the box `low <= 0 <= high`, and return the smallest delta in
the box with <weight, delta> = gain: the exact projection of the origin onto a hyperplane. Where the box ends before the
plane does, they return the corner of the box that lies farthest in its direction. Features without weight never move.

To project a point x onto {z : <w, z> = b} within low <= z <= high, ask for gain b - <w, x> in the box low - x, high - x.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from saddlepoint.ops.norms import expand_as, pixels

Rows = Float[Tensor, "b *shape"]
Flat = Float[Tensor, "b d"]
Column = Float[Tensor, " b"]
FIRST_LOOK = 64  # of the largest weights, before more are sorted: a small L1 change needs few features


def cross_linf(weight: Rows, gain: Column, low: Rows, high: Rows) -> Rows:
    """All features go equally far, each until its room ends."""
    slope, room, way = _one_way(weight, gain, low, high)
    time = _time(gain.abs(), slope, slope * room, room)
    return way * room.minimum(time[:, None]).view_as(weight)


def cross_l2(weight: Rows, gain: Column, low: Rows, high: Rows) -> Rows:
    """Features go as far as their weights say, each until its room ends."""
    slope, room, way = _one_way(weight, gain, low, high)
    time = _time(gain.abs(), slope.square(), slope * room, room / slope)
    return way * (slope * time[:, None]).minimum(room).view_as(weight)


def cross_l1(weight: Rows, gain: Column, low: Rows, high: Rows) -> Rows:
    """Features use up their rooms in the order of their weights; the last ones share what is left to gain."""
    slope, room, way = _one_way(weight, gain, low, high)
    slope, gain = slope * room.sign(), gain.abs()
    capacity, count = slope * room, min(FIRST_LOOK, slope.shape[1])
    while True:
        top = slope.topk(count, dim=1)
        reached = capacity.gather(1, top.indices).cumsum(dim=1)
        if count == slope.shape[1] or (reached[:, -1] >= gain).all():
            break
        count = min(4 * count, slope.shape[1])
    last = top.values.gather(1, (reached < gain[:, None]).sum(dim=1, keepdim=True).clamp_max(count - 1))
    before = torch.gt(slope, last, out=torch.empty_like(slope))
    among = torch.eq(slope, last, out=torch.empty_like(slope))
    share = _share(gain - (before * capacity).sum(dim=1), (among * capacity).sum(dim=1))
    return way * among.mul_(share[:, None]).add_(before).mul_(room).view_as(weight)


def cross_l0(weight: Rows, gain: Column, low: Rows, high: Rows) -> Rows:
    """Pixels go to the end of their rooms in the order of what that gains; the last one only as far as it must."""
    slope, room, way = _one_way(weight, gain, low, high)
    capacity = pixels((slope * room).view_as(weight)).sum(dim=1)
    order = capacity.argsort(dim=1, descending=True, stable=True)
    ordered = capacity.gather(1, order)
    rest = gain.abs()[:, None] - (ordered.cumsum(dim=1) - ordered)
    share = torch.zeros_like(capacity).scatter(1, order, _share(rest, ordered))
    return way * (pixels((room * (slope > 0)).view_as(weight)) * share[:, None]).view_as(weight)


def _one_way(weight: Rows, gain: Column, low: Rows, high: Rows) -> tuple[Flat, Flat, Rows]:
    """How much a feature gains on its way, how much room it has there (none without weight), and which way that is."""
    way = weight.sign() * expand_as(gain.sign(), weight)
    return weight.abs().flatten(1), (way * low).maximum(way * high).flatten(1), way


def _time(gain: Column, rate: Flat, capacity: Flat, until: Flat) -> Column:
    """When all is gained, by features that gain at a rate each until they have reached their capacity.

    What is gained is concave in time, so that Newton's method from the left never goes too far, and piecewise linear, so
    that it ends at the exact time: every round exhausts another feature. Five to ten rounds are usual.
    """
    greatest = torch.finfo(gain.dtype).max
    time = (gain / rate.sum(dim=1)).nan_to_num(nan=0.0, posinf=greatest)
    buffer = torch.empty_like(rate)  # comparisons written as numbers: far faster than through truth values
    while True:
        spent = torch.lt(until, time[:, None], out=buffer).mul_(capacity).sum(dim=1)
        moving = torch.ge(until, time[:, None], out=buffer).mul_(rate).sum(dim=1)
        later = torch.where(moving > 0, (gain - spent) / moving, greatest).clamp_max(greatest)
        if not (later > time).any():
            return time
        time = later.maximum(time)


def _share(rest: Tensor, capacity: Tensor) -> Tensor:
    """Which part of the capacity the rest needs, from 0 to 1."""
    return (rest / capacity.clamp_min(torch.finfo(rest.dtype).tiny)).clamp(0, 1)
