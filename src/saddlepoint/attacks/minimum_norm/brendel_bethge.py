"""The attack of Brendel and Bethge, along the decision boundary."""

import math
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.threat import Threat
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.ops.trust_region import nearest_l0, nearest_l1, nearest_l2, nearest_linf
from saddlepoint.threats import L0, L1, L2, Linf

NEAREST: dict[type[Threat], Callable[..., Tensor]] = {L0: nearest_l0, L1: nearest_l1, L2: nearest_l2, Linf: nearest_linf}
INSIDE = 1e-4  # margin to aim at, at least: at zero a walk along the outside would come ever nearer and never win
FIRST_STRIDE, LONGER = 0.01, 1.05  # of the walk out: in units of the diagonal of the bounds, and its growth a step


@record
class BrendelBethge(Attack):
    """Walk along the decision boundary toward the clean input, each step the best one that a linear boundary allows.

    One of the strongest minimum-norm attacks, in all four norms, with little to tune. It follows the boundary, not a loss
    near the input, so gradients that vanish there do not stop it. DDN does as well for L2 with less arithmetic. Not to be
    confused with the boundary attack of the same authors, which sees answers only.

    Attributes:
        steps: gradient evaluations on the boundary (the paper: 1000; from a near start a hundred come close).
        first_radius: of the trust region, as a share of the L2 length of the change from which the walk begins.
        last_radius: the same at the end; it falls geometrically in between.
        overshoot: how far a step means to go from outside to the boundary, in units of its distance: more than 1, so that
            most iterates win. From inside it goes 2 - overshoot of the way.
        momentum: share of the boundary's normal that is kept from the steps before.
        attempts: gradient steps to walk out of the clean class where no start is known, then random inputs to try.
        bisections: from a start to the boundary, and at the end from the best change toward the clean input.
        start: an attack whose result the walk begins at, or None; where it finds nothing, the `starts` given are tried.

    Deviations: without a start it walks out of the clean class by gradients first, and tries random inputs only where that
    fails: the walk on the boundary begins near, and targeted goals need no images of their class. The trust region is
    relative to that beginning, so that its meaning does not depend on the number of features. The step of a convex norm is
    exact; that of L0 is the best of a family of subsets, over pixels, not features. A step aims a little inside the
    boundary, never at a tie. The best change is bisected toward the input at the end.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L0, L1, L2, Linf)
    paper: ClassVar = Paper(
        key="brendel2019accurate",
        title="Accurate, reliable and fast robustness evaluation",
        authors='Brendel, Wieland and Rauber, Jonas and K{\\"u}mmerer, Matthias and Ustyuzhaninov, Ivan'
        " and Bethge, Matthias",
        year=2019,
        venue="Advances in Neural Information Processing Systems",
        arxiv="1907.01003",
    )
    steps: Count = 100
    first_radius: StepSize = 3.0
    last_radius: StepSize = 0.01
    overshoot: Annotated[float, Field(ge=1, lt=2)] = 1.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    attempts: Count = 50
    bisections: Count = 10
    start: Attack | None = None

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        first = self.start.passes(features, classes) if self.start else (0, 0)
        forwards = 1 + 2 * self.attempts + 2 * self.bisections + self.steps
        return first[0] + forwards, first[1] + self.attempts + self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        if self.start is not None:
            yield from game.stage(self.start)
        rows = yield from self.walk_out(game)
        nearest = NEAREST[type(game.threat)]
        rows.delta = self.pull_back(game, rows.delta)
        rows.normal, rows.length = torch.zeros_like(rows.delta), l2(rows.delta)
        for k in range(self.steps):
            rows = yield rows
            delta = rows.delta.requires_grad_()
            margin = game.margin(delta)
            gradient = game.gradient(margin, delta)
            margin, kept = margin.detach(), self.momentum if k else 0.0
            rows.normal = kept * rows.normal + (1 - kept) * gradient
            gap = -margin * torch.where(margin > 0, self.overshoot, 2 - self.overshoot)
            gap = gap.minimum(-margin - INSIDE)
            share = self.first_radius * (self.last_radius / self.first_radius) ** (k / self.steps)
            rows.delta = nearest(delta.detach(), rows.normal, gap, share * rows.length, low - game.x, high - game.x)
        rows = yield rows
        self.pull_back(game, game.best - game.x)

    def walk_out(self, game: Game) -> Generator[Rows, Rows, Rows]:
        """A change that reaches the goal, in every row that stays: one that is known, or by gradients, or at random."""
        low, high = game.model.bounds
        rows = Rows(delta=game.best - game.x, out=(game.best != game.x).flatten(1).any(1))
        if game.starts is not None:
            take(game, rows, game.starts - game.x)
        rows.walking = ~rows.out
        for i in range(self.attempts):
            if not rows.walking.any():
                break
            delta = rows.delta.requires_grad_()
            logits = game.logits(delta, where=rows.walking)
            gradient = game.gradient(game.goal.cross_entropy(logits), delta)
            rows.out = rows.out | rows.walking & (game.goal.margin(logits.detach()) < 0)
            rows.walking = rows.walking & ~rows.out & (gradient != 0).flatten(1).any(1)
            stride = FIRST_STRIDE * LONGER**i * (high - low) * math.sqrt(delta[0].numel())
            moved = (delta.detach() - stride * unit(gradient, l2(gradient))).clamp(low - game.x, high - game.x)
            rows.delta = torch.where(expand_as(rows.walking, moved), moved, delta.detach())
            rows = yield rows
        for i in range(self.attempts):
            if rows.out.all():
                break
            draw = game.noise.fork(f"start {i}").uniform(*game.x.shape[1:], dtype=game.x.dtype)
            draw = draw if i % 2 else (draw < 0.5).to(draw.dtype)
            take(game, rows, draw * (high - low) + low - game.x)
            rows = yield rows
        game.retire(~rows.out)
        return (yield rows)

    def pull_back(self, game: Game, delta: Tensor) -> Tensor:
        """The smallest win found by bisection between a winning change and none: a share of it, or for Linf a cut of it."""
        flat, longest = isinstance(game.threat, Linf), delta.abs().flatten(1).amax(1)
        few, many = torch.zeros_like(longest), torch.ones_like(longest)

        def part(share: Tensor) -> Tensor:
            cut = expand_as(share * longest, delta)
            return delta.clamp(-cut, cut) if flat else expand_as(share, delta) * delta

        for _ in range(self.bisections):
            middle = (few + many) / 2
            won = game.margin(part(middle)) < 0
            few, many = torch.where(won, few, middle), torch.where(won, middle, many)
        return part(many)


def take(game: Game, rows: Rows, delta: Tensor) -> None:
    """Use a change where it reaches the goal and none is known yet."""
    now = (game.margin(delta, where=~rows.out) < 0) & ~rows.out
    rows.delta, rows.out = torch.where(expand_as(now, delta), delta, rows.delta), rows.out | now
