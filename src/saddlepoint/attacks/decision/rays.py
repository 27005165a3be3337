"""RayS."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import Linf


@record
class RayS(Attack):
    """Search the corners of the cube around x for the direction in which the boundary is nearest, from answers alone.

    It moves all features equally far, up or down, and turns one block of them after another around, the blocks half as long
    each time through. It estimates no gradient and has no step size to set, and needs fewer queries than HopSkipJump does
    for this norm. Square does much the same with scores, within a given radius.

    Attributes:
        steps: queries.
        tolerance: how exactly to measure the distance of the boundary, relative to it.

    Deviations: where a turned block wins, the boundary is looked for just below the least distance, then farther and farther
    below it as long as that wins, and by bisection from there; the paper bisects all the way from x. The tolerance is
    relative, and 0.001 of the box in the paper. The argument `starts` of `attack` sets the first direction; it is all ones
    without.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    threats: ClassVar = (Linf,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="chen2020rays",
        title="RayS: A Ray Searching Method for Hard-label Adversarial Attack",
        authors="Chen, Jinghui and Gu, Quanquan",
        year=2020,
        venue="ACM SIGKDD International Conference on Knowledge Discovery and Data Mining",
        arxiv="2006.12792",
    )
    steps: Count = 10_000
    tolerance: Share = 0.01

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps, 0

    def run(self, game: Game) -> Iterator[Rows]:
        """Every query asks, of each row, if its next direction is better or, where the last one was, how much so."""
        low, high = game.model.bounds
        up = torch.ones_like(game.x)
        zero = up.flatten(1)[:, 0] * 0
        plan = blocks(up[0].numel() if len(up) else 1, self.steps).to(up.device)
        rows = Rows(ray=up if game.starts is None else torch.where(game.starts < game.x, -up, up), turned=up)
        rows.radius, rows.inner, rows.stride, rows.tried = zero + (high - low), zero, zero + torch.inf, zero.long()
        rows.measured, rows.found = zero == 0, zero > 0
        for _ in range(self.steps):
            rows.turned = torch.where(expand_as(rows.measured, rows.ray), turned(rows, plan), rows.turned)
            closer = torch.maximum((rows.inner + rows.radius) / 2, rows.radius - rows.stride)
            radius = torch.where(rows.measured, rows.radius, closer)
            won = wins(game, (game.x + expand_as(radius, rows.turned) * rows.turned).clamp(low, high))
            rows.ray = torch.where(expand_as(won, rows.ray), rows.turned, rows.ray)
            rows.stride = torch.where(rows.measured & rows.found, self.tolerance * radius, 2 * rows.stride)
            rows.inner = torch.where(rows.measured, 0, torch.where(won, rows.inner, radius))
            rows.radius, rows.found = torch.where(won, radius, rows.radius), rows.found | won
            rows.tried = rows.tried + rows.measured
            enough = rows.radius - rows.inner <= self.tolerance * rows.radius
            rows.measured = torch.where(rows.measured, ~won, enough)
            rows = yield rows


def blocks(features: int, count: int) -> Tensor:
    """(count, 2) ends of what to turn around: nothing, all features, the halves, the quarters, and so on."""
    ends = [(0, 0)]
    parts = 1
    while len(ends) < count:
        length = -(-features // parts)
        ends += [(at, at + length) for at in range(0, features, length)]
        parts = 2 * parts if length > 1 else parts
    return torch.tensor(ends[:count])


def turned(rows: Rows, plan: Tensor) -> Tensor:
    """The best direction of each row with its next block the other way."""
    ends = plan[rows.tried]
    place = torch.arange(rows.ray[0].numel(), device=plan.device)
    inside = (place >= ends[:, :1]) & (place < ends[:, 1:])
    return torch.where(inside.view_as(rows.ray), -rows.ray, rows.ray)
