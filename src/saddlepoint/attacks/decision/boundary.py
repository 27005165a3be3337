"""Boundary attack."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import any_wins, begin, most_queries
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L2

AROUND = 0.3  # part of the moves around x that should win
WINS = 0.15  # part of the candidates that should win
HASTE = 0.1  # with which the steps follow
LEAST = 1e-7  # step toward x, below which a row can gain no more


@record
class Boundary(Attack):
    """Walk along the decision boundary at random: a step around the input, a step toward it, kept if it still wins.

    The first attack that needed answers alone, and the least in need of anything else: no slope is ever estimated, so noisy
    or jagged boundaries do not mislead it. HopSkipJump and SurFree need fewer queries.

    Attributes:
        steps: rounds, each a step of the best candidate.
        candidates: queries a round. One of them takes the step around the input alone. With two thousand queries in all, 5
            come nearer; more make fuller passes.
        around: length of the first step around the input, in units of the distance.
        toward: length of the first step toward it, in units of the distance.
        attempts: random inputs to try as a start; the argument `starts` of `attack` comes before them.

    Deviations: the authors try one candidate at a time. After every round the step around grows or shrinks by five percent
    at most, to make 30 percent of such steps win, and so does the step toward, for 15 percent of the candidates; the authors
    wait for a hundred trials, and aim at half and a quarter. The walk begins at the nearest of four random inputs that win.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="brendel2018decision",
        title="Decision-Based Adversarial Attacks: Reliable Attacks Against Black-Box Machine Learning Models",
        authors="Brendel, Wieland and Rauber, Jonas and Bethge, Matthias",
        year=2018,
        venue="International Conference on Learning Representations",
        arxiv="1712.04248",
    )
    steps: Count = 2500
    candidates: Count = 10
    around: Share = 0.01
    toward: Share = 0.01
    attempts: Count = 100

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return most_queries(self.attempts) + self.steps * self.candidates, 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = yield from begin(game, self.attempts)
        one = torch.ones_like(rows.distance)
        rows.around, rows.toward = self.around * one, self.toward * one
        for _ in range(self.steps):
            rows = yield rows
            sphere = around(game, rows, self.candidates)
            back = game.x[:, None] - sphere
            aim = ((1 - rows.toward) * rows.distance)[:, None]
            share = (1 - aim / lengths(back).clamp_min(torch.finfo(aim.dtype).tiny)).clamp(0, 1)
            share[:, 0] = 0  # the first shows whether the step around is too long
            points = sphere + expand_as(share, back) * back
            won = any_wins(game, points)
            radius = lengths(points - game.x[:, None]).masked_fill(~won, torch.inf)
            nearest = radius.min(1)
            pick = points[torch.arange(len(points)), nearest.indices]
            nearer = nearest.values < rows.distance
            rows.point = torch.where(expand_as(nearer, pick), pick, rows.point)
            rows.distance = torch.where(nearer, nearest.values, rows.distance)
            rows.around = (rows.around * (HASTE * (won[:, 0].to(aim.dtype) - AROUND)).exp()).clamp_max(1)
            rows.toward = (rows.toward * (HASTE * (won.to(aim.dtype).mean(1) - WINS)).exp()).clamp_max(0.5)
            game.retire(rows.toward < LEAST)


def around(game: Game, rows: Rows, count: int) -> Tensor:
    """(b, count, *shape) points as far from x as the one of the row, `rows.around` of the distance away from it."""
    low, high = game.model.bounds
    back = (game.x - rows.point)[:, None]
    side = game.noise.normal(count, *game.x.shape[1:], dtype=game.x.dtype)
    tiny = torch.finfo(side.dtype).tiny
    along = (side * back).flatten(2).sum(2) / back.flatten(2).square().sum(2).clamp_min(tiny)
    side = side - expand_as(along, side) * back
    side = side * expand_as((rows.around * rows.distance)[:, None] / lengths(side).clamp_min(tiny), side)
    return (game.x[:, None] + (side - back) / expand_as((1 + rows.around**2).sqrt(), side)).clamp(low, high)


def lengths(several: Tensor) -> Tensor:
    """(b, m) Euclidean lengths of (b, m, *shape)."""
    return several.flatten(2).norm(dim=2)
