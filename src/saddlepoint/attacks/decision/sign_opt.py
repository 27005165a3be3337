"""Sign-OPT."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import AT_ONCE, SEARCHES, any_wins, begin, boundary, most_queries, shorten, wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.ops.projections import onto_l2
from saddlepoint.threats import L2

TRIES = 15  # of longer steps, and of shorter ones
SHORTEST = 1e-4  # step, below which the next one starts afresh with a tenth of the spread
LEAST_SPREAD = 1e-4  # that single precision can tell from none
BEYOND = 8.0  # times the present distance, rays are cut: enough to be as long within the bounds
COARSE = 1e-2  # of the distance, to which the first directions are compared
PRECISION = 100  # a distance is measured so much more exactly than the spread
ROUNDING = 300  # but within so many units of rounding, so that a win holds when it is asked for again


@record
class SignOPT(Attack):
    """Descend on the distance of the boundary as a function of direction, whose slope one answer a probe tells the sign of.

    A line search makes it sure of every step, at the price of a dozen queries each. HopSkipJump spends these on the
    boundary instead, and takes more probes with every step.

    Attributes:
        steps: gradient estimates.
        evaluations: queries of each.
        step_size: of the first step, in units of the distance; it doubles as long as that brings the boundary nearer, and
            otherwise halves until a step does and the half of it no longer does.
        spread: length of a probe, in units of the distance; a tenth of it once steps have become too short.
        attempts: random inputs to try as a start; the argument `starts` of `attack` comes before them.
        directions: random ones, of which the best takes the start's place if the boundary is nearer there.

    Deviations: before the hundred directions comes the nearest of four random inputs that win, so that there is a distance
    to ask at: one query a direction that is no better. Rays run within the bounds: features stop there, and the others make
    up for the length. A probe counts as what is left of it within the bounds, and the mean of the probes is taken off. The
    estimate is scaled to unit length. A step is measured only if it wins at the present distance, to a hundredth of the
    spread, and halved, not quartered.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="cheng2020signopt",
        title="Sign-OPT: A Query-Efficient Hard-label Adversarial Attack",
        authors="Cheng, Minhao and Singh, Simranjit and Chen, Patrick H. and Chen, Pin-Yu and Liu, Sijia and Hsieh, Cho-Jui",
        year=2020,
        venue="International Conference on Learning Representations",
        arxiv="1909.10773",
    )
    steps: Count = 100
    evaluations: Count = 200
    step_size: StepSize = 0.2
    spread: StepSize = 0.001
    attempts: Count = 100
    directions: Count = 100

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        searches = 2 * TRIES * (1 + SEARCHES)
        first = most_queries(self.attempts) + self.directions * (1 + SEARCHES) + 64
        return first + self.steps * (self.evaluations + searches), 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = yield from begin(game, self.attempts)
        for _ in range(self.directions):
            u = game.noise.normal(*game.x.shape[1:], dtype=game.x.dtype)
            come_nearer(game, rows, u, torch.full_like(rows.distance, COARSE))
            rows = yield rows
        rows.step = torch.full_like(rows.distance, self.step_size)
        rows.spread = torch.full_like(rows.distance, self.spread)
        rows.point = boundary(game, rows.point, max(self.spread / PRECISION, finest(game.x)), flat=False)
        for _ in range(self.steps):
            rows = yield rows
            rows.distance = l2(rows.point - game.x)
            rows.down = self.descent(game, rows)
            rows = yield rows
            self.search(game, rows)
            short = rows.step < SHORTEST
            rows.step = torch.where(short, self.step_size, rows.step)
            rows.spread = torch.where(short, rows.spread / 10, rows.spread)
            game.retire(rows.spread < LEAST_SPREAD)

    def descent(self, game: Game, rows: Rows) -> Tensor:
        """Unit direction in which the boundary comes nearer: the probes that win where they are less those that do not."""
        low, high = game.model.bounds
        part = max(1, min(self.evaluations, AT_ONCE // game.x[0].numel()))
        ray = unit(rows.point - game.x, rows.distance)[:, None]
        total = sums = torch.zeros_like(game.x)
        votes = torch.zeros_like(rows.distance)
        for done in range(0, self.evaluations, part):
            u = game.noise.normal(min(part, self.evaluations - done), *game.x.shape[1:], dtype=game.x.dtype)
            u = u / expand_as(u.flatten(2).norm(dim=2), u)
            turned = ray + expand_as(rows.spread, u) * u
            turned = turned * expand_as(rows.distance[:, None] / turned.flatten(2).norm(dim=2), u)
            probe = (game.x[:, None] + turned).clamp(low, high)
            vote = any_wins(game, probe).to(u.dtype) * 2 - 1
            moved = probe - rows.point[:, None]
            total = total + torch.einsum("bm,bm...->b...", vote, moved)
            sums, votes = sums + moved.sum(1), votes + vote.sum(1)
        total = total - expand_as(votes / self.evaluations, total) * sums
        return unit(total, l2(total))

    def search(self, game: Game, rows: Rows) -> None:
        """Turn toward `rows.down`: farther as long as the boundary comes nearer, or else less far until it does."""
        ray = unit(rows.point - game.x, rows.distance)
        better = active = torch.ones_like(rows.distance, dtype=torch.bool)
        for k in range(TRIES):
            active = turn(game, rows, ray, active)
            better = active if k == 0 else better
            if not active.any():
                break
            rows.step = torch.where(active, 2 * rows.step, rows.step)
        active = ~better
        for _ in range(TRIES):
            if not active.any():
                break
            rows.step = torch.where(active, rows.step / 2, rows.step)
            won = turn(game, rows, ray, active)
            active, better = active & (won | ~better), better | won


def turn(game: Game, rows: Rows, ray: Tensor, where: Tensor) -> Tensor:
    """Turn the ray by the step where that brings the boundary nearer; whether it does."""
    turned = ray + expand_as(rows.step, ray) * rows.down
    return come_nearer(game, rows, turned, (rows.spread / PRECISION).clamp_min(finest(game.x)), where)


def come_nearer(game: Game, rows: Rows, ray: Tensor, width: Tensor, where: Tensor | None = None) -> Tensor:
    """Take the ray's point on the boundary, found to a relative `width`, if it is nearer than the row's; whether it is."""
    low, high = game.model.bounds
    far = expand_as(BEYOND * rows.distance / l2(ray), ray) * ray

    def at(length: Tensor) -> Tensor:
        return game.x + onto_l2(far, length, low - game.x, high - game.x)

    won = wins(game, at(rows.distance), where=where)
    won = won if where is None else won & where
    rows.distance = shorten(game, at, rows.distance, width, where=won)
    rows.point = torch.where(expand_as(won, ray), at(rows.distance), rows.point)
    return won


def finest(x: Tensor) -> float:
    """How exactly a distance can be measured, relative to it."""
    return ROUNDING * torch.finfo(x.dtype).eps
