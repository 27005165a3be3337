"""Natural evolution strategies with scores."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.score.estimate import slope
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import L2, Linf

LIMITED = Paper(
    key="ilyas2018blackbox",
    title="Black-box Adversarial Attacks with Limited Queries and Information",
    authors="Ilyas, Andrew and Engstrom, Logan and Athalye, Anish and Lin, Jessy",
    year=2018,
    venue="International Conference on Machine Learning",
    arxiv="1804.08598",
)
PATIENCE = 5  # losses without a gain, before the step is halved
SMALLEST = 1 / 200  # of the first step size


@record
class NES(Attack):
    """Projected gradient descent whose gradient is estimated from scores at Gaussian probes around the current point.

    The paper's first threat model, limited queries; PartialNES and LabelNES are the two others. It follows the gradient of
    a smoothed loss, so masked gradients do not stop it. Square needs far fewer queries; SPSA is its sibling with sign noise
    and Adam.

    Attributes:
        steps: gradient estimates.
        samples: queries an estimate, in pairs on both sides of the point.
        sigma: standard deviation of the probes, in input units.
        step_size: the first one, in input units; None means a fifth of the radius.
        momentum: how much of the estimates before goes into the next.

    Deviations: probes are clipped to the bounds. The point itself is asked after each step, at one query more, so that a row
    leaves when it wins; its loss, not the mean over the probes, decides when the step is halved. L2 is searched, too.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    slack: ClassVar = 1.2
    paper: ClassVar = LIMITED
    steps: Count = 200
    samples: Annotated[int, Field(ge=2, multiple_of=2)] = 50
    sigma: StepSize = 1e-3
    step_size: StepSize | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * (self.samples + 1) + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        first = self.step_size or game.threat.reach / 5
        delta = game.start(random=False)
        pace = torch.full_like(game.x.flatten(1)[:, 0], first)
        rows = Rows(
            delta=delta, mean=torch.zeros_like(delta), pace=pace, recent=(pace + torch.inf)[:, None].repeat(1, PATIENCE)
        )
        for _ in range(self.steps):
            rows.mean = self.momentum * rows.mean + (1 - self.momentum) * self.estimate(game, rows.delta)
            rows = yield rows
            step = rows.pace.view(-1, *[1] * (rows.delta.dim() - 1)) * game.steepest(rows.mean, rows.delta)
            rows.delta = game.project(rows.delta + step)
            rows.recent = torch.cat([rows.recent[:, 1:], game.cross_entropy(rows.delta)[:, None]], dim=1)
            stuck = rows.recent[:, 0].isfinite() & (rows.recent[:, -1] > rows.recent[:, 0])
            rows.pace = torch.where(stuck, (rows.pace / 2).clamp_min(first * SMALLEST), rows.pace)
            rows.recent = torch.where(stuck[:, None], torch.inf, rows.recent)
            rows = yield rows

    def estimate(self, game: Game, delta: Tensor) -> Tensor:
        """Gradient of the loss at delta."""
        draw = partial(game.noise.normal, dtype=delta.dtype)
        return slope(game, delta, partial(game.cross_entropy, population=True), draw, self.samples // 2, self.sigma)
