"""Searches over features, and along a line."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.ops.losses import tie
from saddlepoint.ops.norms import expand_as

Column = Float[Tensor, "b d"]
Points = Float[Tensor, "b *shape"]
Values = Float[Tensor, " b"]
Asked = Bool[Tensor, " b"]
PAIRS_AT_ONCE = 1 << 24
AIM = 0.02  # how far below zero to aim, as a part of the value at the end
CLOSE = 0.002  # below zero by so much of the value above is near enough
BEYOND = 10  # but at least so many times what may be a tie


def best_pair(
    alpha: Column, beta: Column, allowed: Bool[Tensor, "b d"]
) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"], Bool[Tensor, " b"]]:
    """The pair p != q of allowed features with the largest -(a_p + a_q)(b_p + b_q), a sum above and b sum below zero.

    Returns p, q, and whether such a pair exists. Exact, in memory linear in d: with u = alpha and v = -beta the score grows
    in both sums, so a feature that two others beat in both u and v is in no pair that is better than one without it, and
    only the first two Pareto layers need to be paired. Most features are beaten by the same two, and are not even sorted.
    """
    u = alpha.masked_fill(~allowed, -torch.inf)
    v = (-beta).masked_fill(~allowed, -torch.inf)
    among = _unbeaten(u, v)
    u, v = u.gather(1, among), v.gather(1, among)
    by_v = v.argsort(dim=1, descending=True, stable=True)
    order = by_v.gather(1, u.gather(1, by_v).argsort(dim=1, descending=True, stable=True))
    u, v = u.gather(1, order), v.gather(1, order)
    first = _front(v)
    layers = first | _front(v.masked_fill(first, -torch.inf))
    width = max(2, int(layers.sum(1).max()) if len(layers) else 2)
    kept = layers.float().topk(min(width, u.shape[1]), dim=1).indices.sort(dim=1).values
    keep = layers.gather(1, kept)
    u = u.gather(1, kept).masked_fill(~keep, -torch.inf)
    v = v.gather(1, kept).masked_fill(~keep, -torch.inf)
    best, place = [u.new_zeros(0)], [kept.new_zeros(0)]
    upper = torch.ones(kept.shape[1], kept.shape[1], dtype=torch.bool, device=u.device).triu(1)
    for part in torch.arange(len(u)).split(max(1, PAIRS_AT_ONCE // kept.shape[1] ** 2)):
        a, b = u[part, :, None] + u[part, None, :], v[part, :, None] + v[part, None, :]
        score = torch.where((a > 0) & (b > 0) & upper, a * b, -torch.inf).flatten(1)
        most = score.max(dim=1)
        best.append(most.values)
        place.append(most.indices)
    score, at = torch.cat(best), torch.cat(place)
    found = among.gather(1, order.gather(1, kept))
    p = found.gather(1, (at // kept.shape[1])[:, None]).squeeze(1)
    q = found.gather(1, (at % kept.shape[1])[:, None]).squeeze(1)
    return p, q, score.isfinite()


def best_feature(alpha: Column, beta: Column, allowed: Bool[Tensor, "b d"]) -> tuple[Int[Tensor, " b"], Bool[Tensor, " b"]]:
    """The allowed feature with the largest -a b, a above and b below zero, and whether such a feature exists."""
    score, at = torch.where(allowed & (alpha > 0) & (beta < 0), -alpha * beta, -torch.inf).max(dim=1)
    return at, score.isfinite()


def _unbeaten(u: Column, v: Column) -> Int[Tensor, "b k"]:
    """Features in their order, at least those that two others, large in both u and v, do not beat in both."""
    if u.shape[1] <= 2:
        return torch.arange(u.shape[1], device=u.device).expand(len(u), -1)
    strong = torch.minimum(u / _spread(u), v / _spread(v)).topk(2, dim=1).indices
    beaten = (u < u.gather(1, strong).amin(1, keepdim=True)) & (v < v.gather(1, strong).amin(1, keepdim=True))
    most = max(2, int((~beaten).sum(1).max())) if len(u) else 2
    return beaten.logical_not().float().topk(most, dim=1).indices.sort(dim=1).values


def _spread(values: Column) -> Float[Tensor, "b 1"]:
    """Root of the sum of squares of what is finite."""
    return values.nan_to_num(neginf=0.0).norm(dim=1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)


def _front(v: Column) -> Bool[Tensor, "b d"]:
    """Entries that exceed everything before them in their row."""
    before = torch.cat([torch.full_like(v[:, :1], -torch.inf), v.cummax(dim=1).values[:, :-1]], dim=1)
    return v > before


@torch.no_grad()
def draw_in(
    margin: Callable[[Points, Asked], Values], inner: Points, outer: Points, above: Values, below: Values, rounds: int
) -> None:
    """Ask for the margin closer and closer to where it changes sign between `inner` (above zero) and `outer` (below).

    False position in the Illinois form, row by row: straight lines between the ends, with the value halved at an end that
    stays twice. It aims a little beyond zero, because only points below it are of use; whoever answers keeps those.
    Rows whose margin does not change sign, or whose best one is next to nothing, are not asked.
    """
    last, enough, value = torch.zeros_like(above), CLOSE * above, below  # of the last look, of a good win, of the best
    for _ in range(rounds):
        where = (above > 0) & (value < -enough)
        if not where.any():
            break
        goal = (AIM * below).clamp_max(-BEYOND * tie(below))
        share = ((above - goal) / (above - below)).nan_to_num(nan=1.0).clamp(0, 1)
        middle = torch.lerp(inner, outer, expand_as(share, inner))
        found = margin(middle, where)
        won = found < 0
        above = torch.where(won, torch.where(last < 0, above / 2, above), found)
        below = torch.where(won, found, torch.where(last > 0, below / 2, below))
        value = torch.where(won, found, value)
        outer, inner = torch.where(expand_as(won, inner), middle, outer), torch.where(expand_as(won, inner), inner, middle)
        last = found
