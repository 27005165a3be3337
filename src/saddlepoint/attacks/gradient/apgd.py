"""Auto-PGD."""

from collections.abc import Generator, Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.attacks.gradient.pace import Halving, Sparse
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.threat import Threat
from saddlepoint.ops.losses import targeted_ratio, without
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L1, L2, Linf


@record
class APGD(Attack):
    """PGD with momentum whose step size halves, row by row, when the loss stops falling.

    The strongest single gradient attack here at a given radius; nothing to tune but the number of steps. With `targets` it
    is APGD-T: one search toward each of the likeliest wrong classes, far stronger on robust models, and as much dearer.
    In L1 it is l1-APGD (Croce and Hein, "Mind the box!", 2021): steps as sparse as the best point is, in balls of three,
    two and one times the radius.

    Attributes:
        steps: gradient evaluations of one search.
        loss: "cross_entropy", "dlr" or "margin"; what a search toward a class minimizes is always its DLR.
        targets: how many classes to search toward, at most all but one; None for a single untargeted search.
        rho: share of steps that must lower the loss for the step size to stay; in L1 the sparsity decides instead.

    Deviations: with two classes the DLR is a constant, so the margin takes its place; with three, the targeted DLR divides
    by the spread of all three. The cross entropy is used as the log-odds, which does not saturate. Under a targeted goal
    `targets` has no meaning and the search is toward that goal. In L1, features that the bounds hold fast take no part in
    a step, and the last point before the radius shrinks is not looked at.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2, L1)
    paper: ClassVar = Paper(
        key="croce2020reliable",
        title="Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        authors="Croce, Francesco and Hein, Matthias",
        year=2020,
        venue="International Conference on Machine Learning",
        arxiv="2003.01690",
    )
    steps: Count = 100
    loss: Literal["cross_entropy", "dlr", "margin"] = "cross_entropy"
    targets: Count | None = None
    rho: Share = 0.75

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        searches = min(self.targets or 1, classes - 1)
        return (self.steps + 1) * searches + 1, self.steps * searches

    def run(self, game: Game) -> Iterator[Rows]:
        if self.targets is None or not isinstance(game.goal, Untargeted):
            yield from self.search(game)
            return
        searches = min(self.targets, game.clean_logits.shape[1] - 1)

        def toward() -> Iterator[Rows]:
            y = game.goal.y[:, None]
            ranked = without(game.clean_logits, game.goal.y).argsort(dim=1, descending=True, stable=True)
            return self.search(game, torch.cat([y, ranked.gather(1, game.turn[:, None])], dim=1))

        yield from game.abreast(searches, toward)

    def search(self, game: Game, pair: Tensor | None = None) -> Iterator[Rows]:
        """One search in every set of the plan, each from the best point of the one before.

        With a `pair` of classes (b, 2) from the first toward the second, else for what the goal says.
        """
        pace = Sparse() if isinstance(game.threat, L1) else Halving(self.rho)
        rows = None
        for threat, steps in pace.phases(game.threat, self.steps):
            if rows is None:
                rows = Rows(theta=pace.start(game, threat), pair=pair)
            else:
                rows.theta = threat.project(game.x, rows.best, game.model.bounds)
            rows = yield from self.descend(game, threat, steps, pace, rows)
        assert rows is not None  # there is always a last phase
        game.submit(rows.theta)

    def descend(
        self, game: Game, threat: Threat, steps: int, pace: Halving | Sparse, rows: Rows
    ) -> Generator[Rows, Rows, Rows]:
        """Algorithm 1 of the paper, every quantity one a row; from a theta, with what is pursued, on."""

        def look(theta: Tensor) -> tuple[Tensor, Tensor]:
            theta = theta.requires_grad_()
            logits = game.logits(theta)
            value = getattr(game.goal, self.loss)(logits) if rows.pair is None else ratio_of(rows.pair, logits)
            return value.detach(), game.gradient(value, theta)

        value, gradient = look(rows.theta)
        theta = rows.theta.detach()
        rows = Rows(
            pair=rows.pair,
            theta=theta, before=theta, value=value, gradient=gradient, best=theta, lowest=value, best_gradient=gradient,
            step=torch.full_like(value, pace.first * threat.reach), falls=torch.zeros_like(value),
        )  # fmt: skip
        pace.begin(rows)
        checkpoints, last = pace.checkpoints(steps), 0
        for k in range(steps):
            rows = yield rows
            momentum = pace.momentum if k else 1.0
            moved = torch.addcmul(rows.theta, expand_as(rows.step, rows.theta), pace.direction(game, rows))
            z = threat.project(game.x, moved, game.model.bounds)
            if pace.momentum < 1:
                moved = torch.lerp(rows.theta - rows.before, z - rows.theta, momentum)
                z = threat.project(game.x, rows.theta + moved, game.model.bounds)
            rows.before, rows.theta = rows.theta, z
            if k + 1 == steps:
                break
            value, rows.gradient = look(rows.theta)
            rows.theta = rows.theta.detach()
            rows.falls = rows.falls + (value < rows.value)
            rows.value = value
            better = value < rows.lowest
            rows.lowest = torch.where(better, value, rows.lowest)
            rows.best = torch.where(expand_as(better, theta), rows.theta, rows.best)
            rows.best_gradient = torch.where(expand_as(better, theta), rows.gradient, rows.best_gradient)
            if k + 1 in checkpoints:
                back = pace.adapt(rows, threat.reach, k + 1 - last)
                rows.theta = torch.where(expand_as(back, theta), rows.best, rows.theta)
                rows.gradient = torch.where(expand_as(back, theta), rows.best_gradient, rows.gradient)
                last = k + 1
        return rows


def ratio_of(pair: Tensor, logits: Tensor) -> Tensor:
    """Targeted DLR from the first to the second of a row's classes (b, 2)."""
    first, second = logits.gather(1, pair).unbind(1)
    return targeted_ratio(first - second, logits)
