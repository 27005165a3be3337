"""Spatially transformed adversarial examples."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import Parametric

MEMORY = 0.9  # of both moments of Adam: the second must soon forget the roughness, whose slopes are far larger


@record
class StAdv(Attack):
    """Minimize the margin plus the roughness of the flow by Adam, from the flow that moves nothing.

    For Flow: its results look smoother than those of PGD in the same set, which moves neighboring pixels apart. On other
    threats of a few parameters nothing is rough, and it is Adam on the margin.

    Attributes:
        steps: gradient evaluations.
        step_size: of Adam, in shares of the limits.
        smoothness: weight of the roughness, the tau of the paper, against the margin.

    Deviations: Adam with projection onto the limits instead of L-BFGS without any. The weight of the roughness falls to zero
    over the first third of the steps, so that it cannot hold a search back from the boundary. The hinge on the margin is
    left out: rows leave at their first win. tau weighs against logits that the game has put on a natural scale.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Parametric,)
    paper: ClassVar = Paper(
        key="xiao2018spatially",
        title="Spatially Transformed Adversarial Examples",
        authors="Xiao, Chaowei and Zhu, Jun-Yan and Li, Bo and He, Warren and Liu, Mingyan and Song, Dawn",
        year=2018,
        venue="International Conference on Learning Representations",
        arxiv="1801.02612",
    )
    steps: Count = 100
    step_size: StepSize = 0.05
    smoothness: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        theta = game.start(random=False)
        rows = Rows(theta=theta, mean=torch.zeros_like(theta), square=torch.zeros_like(theta))
        for k in range(1, self.steps + 1):
            theta = rows.theta.requires_grad_()
            weight = self.smoothness * max(0.0, 1 - 3 * k / self.steps)
            loss = game.margin(theta) + weight * game.threat.roughness(game.x, theta)  # type: ignore[attr-defined]
            gradient = game.gradient(loss, theta)
            rows.mean = MEMORY * rows.mean + (1 - MEMORY) * gradient
            rows.square = MEMORY * rows.square + (1 - MEMORY) * gradient.square()
            root = (rows.square / (1 - MEMORY**k)).sqrt() + 1e-8
            rows.theta = game.project(theta.detach() - self.step_size * rows.mean / (1 - MEMORY**k) / root)
            rows = yield rows
        game.submit(rows.theta)
