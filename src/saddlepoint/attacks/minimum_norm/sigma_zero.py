"""Sigma-zero."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import linf, pixels, unit
from saddlepoint.threats import L0


@record
class SigmaZero(Attack):
    """Adam on the margin plus a smooth count of the changed pixels, of which the faint ones are set back after each step.

    For inputs whose pixels may change to anything. FMN searches L0, too, without the smooth count, and often with the same
    result; JSMA sets whole pixels to their bounds and never takes one back; OnePixel needs no gradient.

    Attributes:
        steps: gradient evaluations.
        step_size: of Adam at the start, in widths of the bounds; it falls along a cosine to a tenth.
        sigma: sharpness of the count: a change whose square is `sigma`, in squared widths, counts one half.
        first_threshold: changes below it, in widths of the bounds, are set back at the start.
        threshold_rate: by how much the threshold rises after a win, or falls after a failure, times the step size.

    Deviations: a pixel of a colored image counts once for all its channels, in the smooth count (by its squared length) and
    in the threshold (by its largest channel). The margin is on the natural scale of the logits, so that its weight against
    the count does not depend on the model's. The last iterate is tried, too.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L0,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="cina2025sigma",
        title="$\\sigma$-zero: Gradient-based Optimization of $\\ell_0$-norm Adversarial Examples",
        authors='Cin{\\`a}, Antonio Emanuele and Villani, Francesco and Pintor, Maura and Sch{\\"o}nherr, Lea'
        " and Biggio, Battista and Pelillo, Marcello",
        year=2025,
        venue="International Conference on Learning Representations",
        arxiv="2402.01879",
    )
    steps: Count = 100
    step_size: StepSize = 1.0
    sigma: StepSize = 1e-3
    first_threshold: Share = 0.3
    threshold_rate: StepSize = 0.01

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        zero = game.start(random=False)
        threshold = torch.full_like(zero.flatten(1)[:, 0], self.first_threshold)
        rows = Rows(change=zero, mean=zero, square=zero, threshold=threshold)  # the change in widths of the bounds
        for k in range(self.steps):
            change = rows.change.requires_grad_()
            margin = game.margin(change * (high - low))
            gradient = game.gradient(margin.clamp_min(0) + self.count(change), change)
            change = change.detach()
            gradient = unit(gradient, linf(gradient))
            rows.mean = 0.9 * rows.mean + 0.1 * gradient
            rows.square = 0.999 * rows.square + 0.001 * gradient.square()
            root = (rows.square / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8
            step = self.step_size * (0.1 + 0.9 * (1 + math.cos(math.pi * max(k - 1, 0) / self.steps)) / 2)
            moved = change - step * rows.mean / (1 - 0.9 ** (k + 1)) / root
            moved = game.project(moved * (high - low)) / (high - low)
            rate = torch.where(margin.detach() < 0, self.threshold_rate, -self.threshold_rate)
            rows.threshold = (rows.threshold + rate * step).clamp(0, 1)
            strong = pixels(moved).abs().amax(dim=1, keepdim=True) >= rows.threshold[:, None, None]
            rows.change = (pixels(moved) * strong).view_as(moved)
            rows = yield rows
        game.submit(rows.change * (high - low))

    def count(self, change: Tensor) -> Tensor:
        """The share of changed pixels, smoothed."""
        square = pixels(change.square()).sum(dim=1)
        return (square / (square + self.sigma)).mean(dim=1)
