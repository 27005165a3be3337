"""Fast minimum-norm."""

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
from saddlepoint.ops.losses import tie
from saddlepoint.ops.norms import expand_as, l1, l2, linf, pixels, unit
from saddlepoint.ops.search import BEYOND
from saddlepoint.threats import L0, L1, L2, Linf
from saddlepoint.threats.ball import Ball

DUAL = {L1: linf, L2: l2, Linf: l1}
FIRST_STEP = {L2: 2.0, Linf: 1.0, L1: 0.1, L0: 1.0}


@record
class FMN(Attack):
    """Follow the gradient inside a ball that shrinks while the point is adversarial and grows while it is not.

    DDN for every norm: it keeps to the ball where DDN keeps to the sphere, begins with the radius that a linear model would
    need, and ends with smaller and smaller changes of it. In L0 SigmaZero is its equal, or better if many pixels must go.

    Attributes:
        steps: gradient evaluations.
        step_size: of the first step, in multiples of the longest L2 change in the ball of that step; it falls along a
            cosine to a hundredth. None means 2 (L2), 1 (Linf, L0) or 0.1 (L1).
        gamma: by how much the radius changes at the start; it falls along a cosine to a fiftieth.

    Deviations: the projection is the exact one onto ball and box; clipping what was projected, as in the paper, stalls below
    the boundary. Steps are relative to the ball and not to the unit of the input. The loss is the cross entropy (as
    log-odds) instead of the margin, which knows the nearest wrong class only. Until the first win the radius grows by
    gamma, at least, because the linear estimate alone may creep up to a boundary for ever; in L0, too, it begins at that
    estimate and not at one pixel. A pixel of a colored image counts once for all its channels. No bisection from a given
    start.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (Linf, L2, L1, L0)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="pintor2021fast",
        title="Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
        authors="Pintor, Maura and Roli, Fabio and Brendel, Wieland and Biggio, Battista",
        year=2021,
        venue="Advances in Neural Information Processing Systems",
        arxiv="2102.12827",
    )
    steps: Count = 100
    step_size: StepSize | None = None
    gamma: Share = 0.05

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        ball = type(game.threat)
        assert issubclass(ball, Ball)
        low, high = game.model.bounds
        farthest = ball.norm(torch.maximum(game.x - low, high - game.x))
        rows = Rows(delta=game.start(random=False), radius=torch.zeros_like(farthest), farthest=farthest)
        for k in range(self.steps):
            cosine = (1 + math.cos(math.pi * k / self.steps)) / 2
            gamma = self.gamma * (0.02 + 0.98 * cosine)
            step = (self.step_size or FIRST_STEP[ball]) * (0.01 + 0.99 * cosine)
            delta = rows.delta.requires_grad_()
            logits = game.logits(delta)
            gradient = game.gradient(game.goal.cross_entropy(logits), delta)
            margin, delta = game.goal.margin(logits.detach()) + BEYOND * tie(logits), delta.detach()
            size, more = l2(gradient), torch.zeros_like(margin)
            best = torch.where(game.found, game.nearest, rows.farthest)
            if not game.found.all():
                to_go = ball.norm(delta) + to_boundary(game, margin.abs(), gradient, delta)
                more = torch.where(game.found, more, to_go)
            shrunk, grown = rows.radius * (1 - gamma), (rows.radius * (1 + gamma)).maximum(more)
            if ball is L0:
                shrunk, grown = shrunk.floor().minimum(rows.radius - 1), grown.floor().maximum(rows.radius + 1)
            rows.radius = torch.where(margin < 0, shrunk.minimum(best), grown).minimum(rows.farthest).clamp_min(0)
            flat = size == 0
            if flat.any():
                random = game.noise.fork(f"flat {k}").normal(*gradient.shape[1:], dtype=gradient.dtype)
                gradient = torch.where(expand_as(flat, gradient), random, gradient)
                size = l2(gradient)
            length = step * longest(ball, rows.radius, delta[0].numel(), high - low)
            moved = delta - expand_as(length, delta) * unit(gradient, size)
            rows.delta = ball.nearest(moved, rows.radius, low - game.x, high - game.x)
            rows = yield rows
        game.submit(rows.delta)


def to_boundary(game: Game, margin: Tensor, gradient: Tensor, delta: Tensor) -> Tensor:
    """How far the boundary would be if the model were linear; in L0, how many pixels would have to change."""
    kind = type(game.threat)
    if kind in DUAL:
        return margin / DUAL[kind](gradient).clamp_min(1e-12)
    low, high = game.model.bounds
    room = torch.where(gradient > 0, game.x + delta - low, high - game.x - delta)
    gain = pixels(gradient.abs() * room).sum(dim=1).sort(dim=1, descending=True).values
    return (gain.cumsum(dim=1) < margin[:, None]).sum(dim=1) + 1


def longest(ball: type[Ball], radius: Tensor, features: int, width: float) -> Tensor:
    """The L2 norm of the longest change in the ball, channels and the place of x in the box aside."""
    if ball is Linf:
        return radius * math.sqrt(features)
    return radius.sqrt() * width if ball is L0 else radius
