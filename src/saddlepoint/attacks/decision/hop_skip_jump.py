"""HopSkipJump."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import AT_ONCE, any_wins, begin, boundary, most_queries, wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image, cosines
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.threats import L2, Linf

HALVINGS = 15


@record
class HopSkipJump(Attack):
    """Walk along the decision boundary, estimating its normal from answers alone.

    For when only the answer is known. It needs a point that reaches the goal: random inputs do for an untargeted goal, the
    argument `starts` of `attack` gives images of the target class for a targeted one. A row without one ends as NOT_FOUND
    and holds nobody up.

    With `frequencies` below one, probes are as smooth as a network's gradient often is, which spares queries: half of them
    brought it a tenth nearer with two thousand on small images (QEBA: Li, Xu, Zhang, Yang and Li, "QEBA: Query-Efficient
    Boundary-Based Blackbox Attack", CVPR 2020). With many queries it may bar the way to the nearest point.

    Attributes:
        steps: gradient estimates.
        first_evaluations: queries of the first estimate; the t-th takes sqrt(t) times as many. With two thousand queries in
            all, 40 come slightly nearer.
        most_evaluations: at most so many a step.
        gamma: width of the boundary search, in units of d^-1.5 (L2) or d^-2 (Linf) of the distance, d features.
        frequencies: probes are made of this share of the lowest frequencies along each axis of an image.
        attempts: random inputs to try as a start, of gray and of black and white noise.

    Deviations: the probes of an estimate are orthogonal to each other, which brings it nearer to the normal. Of the first
    four random inputs that win, the walk begins at the nearest. The search for a step length gives up after 15 halvings,
    where the code of the authors may loop forever.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, Linf)
    slack: ClassVar = 1.25
    paper: ClassVar = Paper(
        key="chen2020hopskipjumpattack",
        title="HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        authors="Chen, Jianbo and Jordan, Michael I. and Wainwright, Martin J.",
        year=2020,
        venue="IEEE Symposium on Security and Privacy",
        arxiv="1904.02144",
    )
    steps: Count = 40
    first_evaluations: Count = 100
    most_evaluations: Count = 10_000
    gamma: StepSize = 1.0
    frequencies: Share = 1.0
    attempts: Count = 100

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        searches = math.ceil(2 * math.log2(features)) * (self.steps + 1)
        estimates = sum(self.evaluations(t) for t in range(1, self.steps + 1))
        return most_queries(self.attempts) + searches + estimates + HALVINGS * self.steps, 0

    def evaluations(self, t: int) -> int:
        """Queries of the t-th estimate."""
        return int(min(self.first_evaluations * math.sqrt(t), self.most_evaluations))

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        features = game.x[0].numel()
        flat = isinstance(game.threat, Linf)
        threshold = self.gamma / features ** (2 if flat else 1.5)
        rows = yield from begin(game, self.attempts)
        rows.point = boundary(game, rows.point, threshold, flat)
        for t in range(1, self.steps + 1):
            rows = yield rows
            reach = 0.1 * (high - low) if t == 1 else threshold * rows.distance * (features if flat else math.sqrt(features))
            radius = torch.as_tensor(reach, dtype=game.x.dtype, device=game.x.device).expand(len(game.x))
            rows.normal = normal(game, rows.point, radius, self.evaluations(t), flat, self.frequencies)
            rows = yield rows
            rows.distance = game.threat.size(game.x, rows.point)
            direction = rows.normal.sign() if flat else rows.normal
            rows.point = hop(game, rows.point, direction, rows.distance / math.sqrt(t))
            rows = yield rows
            rows.distance = game.threat.size(game.x, rows.point)
            rows.point = boundary(game, rows.point, threshold, flat)


def normal(game: Game, point: Tensor, radius: Tensor, evaluations: int, flat: bool, frequencies: float) -> Tensor:
    """Monte Carlo estimate of the direction into the winning side, of unit length."""
    features = point[0].numel() if len(point) else 1
    part = max(1, min(evaluations, AT_ONCE // features))
    low, high = game.model.bounds
    sums = torch.zeros_like(point), torch.zeros_like(point)
    votes = torch.zeros_like(radius)
    for done in range(0, evaluations, part):
        u = directions(game, min(part, evaluations - done), flat, frequencies)
        probe = (point[:, None] + expand_as(radius, u) * u).clamp(low, high)
        u = (probe - point[:, None]) / expand_as(radius.clamp_min(1e-30), u)
        vote = any_wins(game, probe).to(point.dtype) * 2 - 1
        sums = sums[0] + torch.einsum("bm,bm...->b...", vote, u), sums[1] + u.sum(1)
        votes = votes + vote.sum(1)
    mean = expand_as(votes / evaluations, point)
    estimate = torch.where(mean.abs() == 1, mean * sums[1], sums[0] - mean * sums[1])
    return unit(estimate, l2(estimate))


def directions(game: Game, count: int, flat: bool, frequencies: float) -> Tensor:
    """(b, count, *shape) random directions of unit length, in frames of as many orthogonal ones as there are dimensions."""
    c, *sides = as_image(game.x)
    basis = [cosines(n, frequencies, game.x) for n in sides] if frequencies < 1 else []
    shape = (c, *map(len, basis)) if basis else (c, *sides)
    dtype = torch.promote_types(game.x.dtype, torch.float32)
    frame = min(count, math.prod(shape))
    drawn = math.ceil(count / frame), frame, math.prod(shape)
    u = game.noise.uniform(*drawn, dtype=dtype) * 2 - 1 if flat else game.noise.normal(*drawn, dtype=dtype)
    q, r = torch.linalg.qr(u.transpose(2, 3))
    u = (q * r.diagonal(dim1=2, dim2=3).sign()[:, :, None]).transpose(2, 3).flatten(1, 2)[:, :count]
    if basis:
        u = torch.einsum("ih,bmcij,jw->bmchw", basis[0], u.unflatten(2, shape).double(), basis[1])
    return u.reshape(*u.shape[:2], *game.x.shape[1:]).to(game.x.dtype)


def hop(game: Game, point: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Move along `direction`, halving the length until the result still wins; stay where none does."""
    low, high = game.model.bounds
    moved = torch.zeros_like(length, dtype=torch.bool)
    for _ in range(HALVINGS):
        there = (point + expand_as(length, point) * direction).clamp(low, high)
        now = wins(game, there, where=~moved) & ~moved
        point = torch.where(expand_as(now, point), there, point)
        moved = moved | now
        if moved.all():
            break
        length = length / 2
    return point
