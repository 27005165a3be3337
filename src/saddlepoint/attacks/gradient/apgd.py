"""Auto-PGD."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import of_class, targeted_ratio, without
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L2, Linf


@record
class APGD(Attack):
    """PGD with momentum whose step size halves, row by row, when the loss stops falling.

    The strongest single gradient attack here at a given radius; nothing to tune but the number of steps. With `targets` it
    is APGD-T: one search toward each of the likeliest wrong classes, far stronger on robust models, and as much dearer.

    Attributes:
        steps: gradient evaluations of one search.
        loss: "cross_entropy", "dlr" or "margin"; what a search toward a class minimizes is always its DLR.
        targets: how many classes to search toward, at most all but one; None for a single untargeted search.
        rho: share of steps that must lower the loss for the step size to stay.

    Deviations: with two classes the DLR is a constant, so the margin takes its place; with three, the targeted DLR divides
    by the spread of all three. The cross entropy is used as the log-odds, which does not saturate. Under a targeted goal
    `targets` has no meaning and the search is toward that goal.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
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
            yield from self.search(game, lambda logits: getattr(game.goal, self.loss)(logits))
            return
        for rank in range(min(self.targets, game.clean_logits.shape[1] - 1)):
            yield from self.search(game, partial(toward, game, rank))

    def search(self, game: Game, loss: Callable[[Tensor], Tensor]) -> Iterator[Rows]:
        """Algorithm 1 of the paper, every quantity one a row."""

        def look(theta: Tensor) -> tuple[Tensor, Tensor]:
            theta = theta.requires_grad_()
            value = loss(game.logits(theta))
            return value.detach(), game.gradient(value, theta)

        theta = game.start(random=True)
        value, gradient = look(theta)
        theta = theta.detach()
        rows = Rows(
            theta=theta, before=theta, value=value, gradient=gradient,
            best=theta, lowest=value, best_gradient=gradient,
            step=torch.full_like(value, 2 * game.threat.reach), falls=torch.zeros_like(value),
            halved=torch.ones_like(value, dtype=torch.bool), lowest_then=value,
        )  # fmt: skip
        checkpoints, last = schedule(self.steps), 0
        for k in range(self.steps):
            rows = yield rows
            momentum = 0.75 if k else 1.0
            z = game.project(rows.theta + expand_as(rows.step, rows.theta) * game.steepest(rows.gradient, rows.theta))
            moved = momentum * (z - rows.theta) + (1 - momentum) * (rows.theta - rows.before)
            rows.before, rows.theta = rows.theta, game.project(rows.theta + moved)
            if k + 1 == self.steps:
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
                stuck = rows.falls < self.rho * (k + 1 - last)
                stuck = stuck | (~rows.halved & (rows.lowest >= rows.lowest_then))
                rows.step = torch.where(stuck, rows.step / 2, rows.step)
                rows.theta = torch.where(expand_as(stuck, theta), rows.best, rows.theta)
                rows.gradient = torch.where(expand_as(stuck, theta), rows.best_gradient, rows.gradient)
                rows.halved, rows.lowest_then, rows.falls = stuck, rows.lowest, torch.zeros_like(value)
                last = k + 1
        game.submit(rows.theta)


def toward(game: Game, rank: int, logits: Tensor) -> Tensor:
    """Targeted DLR toward the wrong class of that rank in the clean logits."""
    goal = game.goal
    assert isinstance(goal, Untargeted)
    target = without(game.clean_logits, goal.y).topk(rank + 1, dim=1).indices[:, rank]
    return targeted_ratio(of_class(logits, goal.y) - of_class(logits, target), logits)


def schedule(steps: int) -> set[int]:
    """Checkpoints: after 22 % of the steps, then at periods that shrink by 3 % down to 6 %."""
    period, at, checkpoints = 0.22, 0.0, set()
    while at < 1:
        at += period
        checkpoints.add(math.ceil(at * steps - 1e-9))
        period = max(period - 0.03, 0.06)
    return checkpoints
