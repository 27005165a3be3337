"""The smallest change on a linearized boundary that is near the last one: the step of Brendel and Bethge.

Given are the last change `at` (b, *shape), the `normal` of the boundary, the `gap` (b,) by which the normal's product with
the change must grow, the `radius` (b,) of the trust region and the box `low <= 0 <= high`; sought is the change z with

    the smallest norm of z    subject to    normal . (z - at) = gap,    |z - at|_2 <= radius,    low <= z <= high,

or, where no z is all that, the one in trust region and box that comes nearest to the boundary.

With delta = z - at, a convex norm has a path delta(s) along the boundary on which |delta|_2 only grows: from the point of
the boundary nearest to `at` to the smallest change without a trust region. So the solution is the root s of
|delta(s)|_2 = radius, and delta(s) in turn one root k, the multiplier of the boundary. Both functions are piecewise smooth
with known slopes, which a safeguarded Newton search finds in a few rounds, all rows at once. float64 inside, because small
differences of large sums decide.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.ops.norms import pixels

Rows = Float[Tensor, "b *shape"]
Flat = Float[Tensor, "b d"]
Mask = Bool[Tensor, "b d"]
Column = Float[Tensor, " b"]
Piece = Callable[[Column, Column], tuple[Flat, Mask, Flat]]  # (s, k) -> delta, where it moves with k, and its slope in s

ROUNDS = 100  # of a root search; two to eight are usual
TOLERANCE = 1e-7  # of the length of a step, as a share of the radius
EXACT = 1e-14  # of a distance from the boundary, as a share of the lengths involved: the last rounding but one
SMALLEST = 1e-6  # entry of the normal, as a share of the largest; float32 gradients know no smaller ones
TINY = 1e-300
RANKINGS = (1, 1, 8, 64)  # of the pixels for the L0 step: factors on the last multiplier, the more the less length counts


def nearest_l2(at: Rows, normal: Rows, gap: Column, radius: Column, low: Rows, high: Rows) -> Rows:
    """The step to the smallest Euclidean length."""
    task = Task.of(at, normal, gap, radius, low, high)

    def piece(s: Column, k: Column) -> tuple[Flat, Mask, Flat]:
        wish = k[:, None] * task.b - s[:, None] * task.at
        free = (wish > task.low) & (wish < task.high)
        return wish.clamp(task.low, task.high), free, -task.at * free

    one = torch.ones_like(task.c)
    end = on_boundary(task.b, task.c, task.tolerance, lambda k: piece(one, k)[:2], task.k)[0]
    return task.answer(walk(task, piece, torch.zeros_like(one), one, end), at)


def nearest_l1(at: Rows, normal: Rows, gap: Column, radius: Column, low: Rows, high: Rows) -> Rows:
    """The step to the smallest sum of absolute values."""
    task = Task.of(at, normal, gap, radius, low, high)

    def piece(s: Column, k: Column) -> tuple[Flat, Mask, Flat]:
        wish = task.at + k[:, None] * task.b
        sign = wish.sign()
        z = sign * (wish.abs() - s[:, None]).clamp_min(0)
        free = (z != 0) & (z > task.low + task.at) & (z < task.high + task.at)
        return z.clamp(task.low + task.at, task.high + task.at) - task.at, free, -sign * free

    # Without a trust region: the features with the largest normal take all the room they have.
    side, room = task.room()
    share = fill(task.b.abs(), task.b.abs() * room, task.level.abs())
    end = side * room * share - task.at
    return task.answer(walk(task, piece, torch.zeros_like(task.c), torch.full_like(task.c, torch.inf), end), at)


def fill(first: Flat, worth: Flat, level: Column) -> Flat:
    """How much of each entry to take, all of those with the largest `first` and a share of one, to make up `level`."""
    order = first.argsort(dim=1, descending=True, stable=True)
    sorted_worth = worth.gather(1, order)
    rest = (level[:, None] - (sorted_worth.cumsum(1) - sorted_worth)).clamp_min(0)
    tiny = torch.finfo(worth.dtype).tiny
    return torch.zeros_like(worth).scatter(1, order, (rest / sorted_worth.clamp_min(tiny)).clamp_max(1))


def nearest_linf(at: Rows, normal: Rows, gap: Column, radius: Column, low: Rows, high: Rows) -> Rows:
    """The step to the smallest largest absolute value."""
    task = Task.of(at, normal, gap, radius, low, high)
    far = torch.maximum(-(task.low + task.at), task.high + task.at).amax(1)

    def piece(s: Column, k: Column) -> tuple[Flat, Mask, Flat]:
        eps = -s[:, None]
        below, above = torch.maximum(task.low + task.at, -eps), torch.minimum(task.high + task.at, eps)
        wish = task.at + k[:, None] * task.b
        free = (wish > below) & (wish < above)
        pressed = wish.abs() >= eps
        z = wish.clamp(below, above)
        return z - task.at, free, -z.sign() * (pressed & (z.abs() == eps))

    side, room = task.room()
    slope = task.b.abs()

    def reached(eps: Column) -> tuple[Column, Column]:
        value = (slope * room.minimum(eps[:, None])).sum(1) - task.level.abs()
        return value, (slope * (room > eps[:, None])).sum(1)

    zero = torch.zeros_like(far)
    least = root(reached, zero, zero, far, task.tolerance)[:, None]
    end = torch.where(task.b != 0, side * room.minimum(least), task.at.clamp(-least, least)) - task.at
    return task.answer(
        walk(task, piece, -(task.at + task.nearest).abs().amax(1).maximum(least[:, 0]), -least[:, 0], end), at
    )


def nearest_l0(at: Rows, normal: Rows, gap: Column, radius: Column, low: Rows, high: Rows) -> Rows:
    """A step to few changed pixels: not convex, so a family of subsets stands for all of them.

    The pixels are restored in the order of what each costs the Lagrangian, as many as leave an admissible step; this number
    is exact for the order, because every pixel restored makes the set smaller. Then they are ordered anew, at multiples
    of the multiplier of that step.
    """
    task = Task.of(at, normal, gap, radius, low, high)
    best, most, k = task.nearest, torch.zeros_like(task.k, dtype=torch.int64), task.k
    for factor in RANKINGS:
        pull = factor * k[:, None] * task.b
        free = pull.clamp(task.low, task.high)
        cost = (task.at.square() / 2 + pull * task.at) - (free.square() / 2 - pull * free)
        rank = pixels(cost.view_as(at)).sum(1).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
        count, delta, k = restore(task, rank, k, at)
        better = count > most
        most, best = torch.where(better, count, most), torch.where(better[:, None], delta, best)
    return task.answer(best, at)


def restore(task: "Task", rank: Int[Tensor, "b pixels"], k: Column, at: Rows) -> tuple[Int[Tensor, " b"], Flat, Column]:
    """How many pixels may be restored, lowest rank first, and the shortest step that does so, with its multiplier."""
    few, many = torch.zeros_like(k, dtype=torch.int64), torch.full_like(k, rank.shape[1], dtype=torch.int64)
    best = task.nearest
    while (few < many).any():
        middle = (few + many + 1) // 2
        back = ((rank < middle[:, None])[:, None].expand(pixels(at).shape)).reshape(task.at.shape)
        low, high = torch.where(back, -task.at, task.low), torch.where(back, -task.at, task.high)
        delta, trial, there = shortest(task.b, task.c, task.tolerance, low, high, k)
        fits = there & (delta.norm(dim=1) <= task.r * (1 + TOLERANCE)) & (few < many)
        few, many = torch.where(fits, middle, few), torch.where(fits | (few >= many), many, middle - 1)
        best, k = torch.where(fits[:, None], delta, best), torch.where(fits, trial, k)
    return few, best, k


@dataclass(frozen=True)
class Task:
    """One problem a row in terms of delta, with a normal of unit length: b . delta = c, |delta| <= r, low <= delta <= high.

    Attributes:
        nearest, k: the shortest delta on the boundary, and its multiplier.
        fallback: the delta nearest to the boundary, for rows that are not `solvable`, whose `c` is 0 to keep them quiet.
    """

    at: Flat
    b: Flat
    c: Column
    r: Column
    tolerance: Column
    low: Flat
    high: Flat
    nearest: Flat
    k: Column
    solvable: Bool[Tensor, " b"]
    fallback: Flat

    @staticmethod
    def of(at: Rows, normal: Rows, gap: Column, radius: Column, low: Rows, high: Rows) -> "Task":
        at, b, low, high = (t.flatten(1).double() for t in (at, normal, low - at, high - at))
        low, high = low.clamp_max(0), high.clamp_min(0)
        b = b * (b.abs() >= SMALLEST * b.abs().amax(1, keepdim=True))
        length = b.norm(dim=1).clamp_min(TINY)
        b, c, r = b / length[:, None], gap.double() / length, radius.double()
        tolerance = EXACT * (r + at.norm(dim=1))
        nearest, k, there = shortest(b, c, tolerance, low, high, c)
        solvable = there & (nearest.norm(dim=1) <= r)
        fallback = toward(b * c.sign()[:, None], r, low, high, ~solvable)
        c, k, nearest = c * solvable, k * solvable, nearest * solvable[:, None]
        return Task(at, b, c, r, tolerance, low, high, nearest, k, solvable, fallback)

    @property
    def level(self) -> Column:
        """b . z on the boundary."""
        return self.c + (self.b * self.at).sum(1)

    def room(self) -> tuple[Flat, Flat]:
        """The direction from the clean input to the boundary, as signs, and how far each feature may go there."""
        direction = self.b.sign() * self.level.sign()[:, None]
        return direction, torch.where(direction > 0, self.high + self.at, -self.low - self.at) * (direction != 0)

    def answer(self, delta: Flat, like: Rows) -> Rows:
        """The change z; exactly zero where delta undoes the last change."""
        delta = torch.where(self.solvable[:, None], delta, self.fallback)
        return torch.where(delta == -self.at, 0, self.at + delta).to(like.dtype).view_as(like)


def walk(task: Task, piece: Piece, first: Column, last: Column, end: Flat) -> Flat:
    """delta(s) where its length is the radius; `end`, which is delta(last), where that is no longer than the radius."""
    over = task.solvable & (end.norm(dim=1) > task.r)
    k, delta = task.k, task.nearest

    def length(s: Column) -> tuple[Column, Column]:
        nonlocal k, delta
        delta, k = on_boundary(task.b, task.c, task.tolerance, lambda k: piece(s, k)[:2], k)
        _, free, move = piece(s, k)
        slope = move + task.b * free * (-(task.b * move).sum(1) / (task.b.square() * free).sum(1).clamp_min(TINY))[:, None]
        norm = delta.norm(dim=1)
        rise = torch.where(norm > TINY, (delta * slope).sum(1) / norm.clamp_min(TINY), slope.norm(dim=1))
        return torch.where(over, norm - task.r, 0), rise

    # The first delta is the shortest, so its length does not change to first order: |delta|^2 = |first|^2 + |slope s|^2.
    _, free, move = piece(first, k)
    slope = move - task.b * free * ((task.b * move).sum(1) / (task.b.square() * free).sum(1).clamp_min(TINY))[:, None]
    guess = (task.r.square() - delta.square().sum(1)).clamp_min(0).sqrt() / slope.norm(dim=1).clamp_min(TINY)
    start = torch.where(last.isinf(), first + guess, (first + guess).minimum((first + last) / 2))
    root(length, torch.where(over, start, first), first, last, TOLERANCE * task.r)
    return torch.where(over[:, None], delta, end)


def shortest(
    b: Flat, c: Column, tolerance: Column, low: Flat, high: Flat, k: Column
) -> tuple[Flat, Column, Bool[Tensor, " b"]]:
    """The shortest delta of the box on the boundary, its multiplier, and whether there is one."""
    least, most = torch.minimum(b * low, b * high).sum(1), torch.maximum(b * low, b * high).sum(1)
    there = (least <= c - 2 * tolerance) & (most >= c + 2 * tolerance)
    origin = torch.zeros_like(low).clamp(low, high)

    def curve(k: Column) -> tuple[Flat, Mask]:
        wish = k[:, None] * b
        return torch.where(there[:, None], wish.clamp(low, high), origin), (wish > low) & (wish < high)

    delta, k = on_boundary(b, torch.where(there, c, (b * origin).sum(1)), tolerance, curve, k)
    return delta, k, there


def toward(b: Flat, r: Column, low: Flat, high: Flat, wanted: Bool[Tensor, " b"]) -> Flat:
    """The delta of the box, no longer than r, with the largest b . delta."""
    corner = torch.where(b > 0, high, torch.where(b < 0, low, 0))
    over = wanted & (corner.norm(dim=1) > r)
    if not over.any():
        return corner

    def length(t: Column) -> tuple[Column, Column]:
        wish = t[:, None] * b
        delta, free = wish.clamp(low, high), (wish > low) & (wish < high)
        norm = delta.norm(dim=1)
        return torch.where(over, norm - r, 0), (delta * b * free).sum(1) / norm.clamp_min(TINY)

    t = root(length, r, torch.zeros_like(r), torch.full_like(r, torch.inf), TOLERANCE * r)
    return torch.where(over[:, None], (t[:, None] * b).clamp(low, high), corner)


def on_boundary(
    b: Flat, c: Column, tolerance: Column, curve: Callable[[Column], tuple[Flat, Mask]], k: Column
) -> tuple[Flat, Column]:
    """The point of a curve in k that is on the boundary, and its k; `curve` says where delta moves, by b, with k."""
    delta = torch.zeros_like(b)

    def beyond(k: Column) -> tuple[Column, Column]:
        nonlocal delta
        delta, free = curve(k)
        return (b * delta).sum(1) - c, (b.square() * free).sum(1)

    anywhere = torch.full_like(k, torch.inf)
    k = root(beyond, k, -anywhere, anywhere, tolerance)
    return delta, k


def root(
    f: Callable[[Column], tuple[Column, Column]], start: Column, lower: Column, upper: Column, tolerance: Column
) -> Column:
    """Where a function that does not fall, and tells its slope, is zero: Newton steps, halvings where those are slow.

    The last call of `f` is at the result.
    """
    t, reach, before = start, 1 + start.abs(), torch.full_like(start, torch.inf)
    for turn in range(ROUNDS):
        value, slope = f(t)
        lower, upper = torch.where(value < 0, t, lower), torch.where(value > 0, t, upper)
        done = (value.abs() <= tolerance) | (upper - lower <= EXACT * t.abs())
        if done.all():
            break
        newton = (t - value / slope).clamp(t - reach, t + reach)
        middle = torch.where(value < 0, upper.minimum(t + reach), lower.maximum(t - reach))
        middle = torch.where((lower + upper).isfinite(), (lower + upper) / 2, middle)
        inside = (newton > lower) & (newton < upper) & ((value.abs() <= before / 2) | (turn % 2 == 0))
        t = torch.where(done, t, torch.where(inside, newton, middle))
        reach, before = 8 * reach, value.abs()
    return t
