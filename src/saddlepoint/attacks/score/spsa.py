"""Simultaneous perturbation stochastic approximation."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.score.estimate import adam, slope
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import L2, Linf


@record
class SPSA(Attack):
    """Adam on the change, with gradients estimated from the scores at points a random sign vector away, on both sides.

    Made to check defenses whose gradients cannot be trusted, with many queries: raise `samples` to thousands and compare
    with PGD. Square is the cheaper check. NES is its sibling with Gaussian probes and sign steps.

    Attributes:
        steps: gradient estimates.
        samples: queries an estimate, in pairs on both sides of the point.
        probe: how far every feature of a probe moves, in input units.
        step_size: of Adam, in input units; None means a third of the change that all features can make together: of the
            radius for Linf, of the radius over the root of the number of features for L2.

    Deviations: the point itself is asked after each step, at one query more, so that a row leaves when it wins. Probes are
    clipped to the bounds. L2 is searched, too.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    slack: ClassVar = 1.2
    paper: ClassVar = Paper(
        key="uesato2018adversarial",
        title="Adversarial Risk and the Dangers of Evaluating Against Weak Attacks",
        authors="Uesato, Jonathan and O'Donoghue, Brendan and Kohli, Pushmeet and van den Oord, A{\\\"a}ron",
        year=2018,
        venue="International Conference on Machine Learning",
        arxiv="1802.05666",
    )
    steps: Count = 100
    samples: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    probe: StepSize = 0.01
    step_size: StepSize | None = None

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * (self.samples + 1) + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        share = math.sqrt(game.x.shape[1:].numel()) if isinstance(game.threat, L2) else 1
        step_size = self.step_size or game.threat.reach / share / 3
        delta = game.start(random=True)
        rows = Rows(delta=delta, mean=torch.zeros_like(delta), square=torch.zeros_like(delta))
        for k in range(1, self.steps + 1):
            rows.delta = game.project(rows.delta - step_size * adam(rows, self.estimate(game, rows.delta), k))
            rows = yield rows
            game.margin(rows.delta)
            rows = yield rows

    def estimate(self, game: Game, delta: Tensor) -> Tensor:
        """Gradient of the margin at delta."""
        draw = partial(game.noise.sign, dtype=delta.dtype)
        return slope(game, delta, partial(game.margin, population=True), draw, self.samples // 2, self.probe)
