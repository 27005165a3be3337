"""Decoupled direction and norm."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.threats import L2


@record
class DDN(Attack):
    """Follow the gradient on a sphere whose radius shrinks while the point is adversarial and grows while it is not.

    The best first choice for a small L2 change: a hundred gradients come close to what CarliniWagner needs thousands for.

    Attributes:
        steps: gradient evaluations.
        gamma: by how much the radius changes a step.
        first_radius: radius at the start, in input units.
        levels: round every iterate to this many values between the bounds (256 for 8-bit images); None for no rounding.

    Deviations: no rounding by default, so that the norm is the model's and not the file format's.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="rony2019decoupling",
        title="Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses",
        authors="Rony, J{\\'e}r{\\^o}me and Hafemann, Luiz G. and Oliveira, Luiz S. and Ben Ayed, Ismail"
        " and Sabourin, Robert and Granger, Eric",
        year=2019,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1811.09600",
    )
    steps: Count = 100
    gamma: Share = 0.05
    first_radius: StepSize = 1.0
    levels: Annotated[int, Field(ge=2)] | None = None

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        farthest = l2(torch.maximum(game.x - low, high - game.x))
        rows = Rows(delta=game.start(random=False), radius=farthest.clamp_max(self.first_radius), farthest=farthest)
        for k in range(self.steps):
            delta = rows.delta.requires_grad_()
            logits = game.logits(delta)
            gradient = game.gradient(game.goal.cross_entropy(logits), delta)
            won = game.goal.margin(logits.detach()) < 0
            flat = l2(gradient) == 0
            if flat.any():
                random = game.noise.fork(f"flat {k}").normal(*gradient.shape[1:], dtype=gradient.dtype)
                gradient = torch.where(expand_as(flat, gradient), random, gradient)
            step = 0.01 + 0.99 * (1 + math.cos(math.pi * k / self.steps)) / 2
            moved = delta.detach() - step * unit(gradient, l2(gradient))
            rows.radius = rows.radius * torch.where(won, 1 - self.gamma, 1 + self.gamma)
            rows.radius = rows.radius.minimum(rows.farthest)
            rows.delta = game.project(expand_as(rows.radius, moved) * unit(moved, l2(moved)))
            if self.levels:
                grid = (high - low) / (self.levels - 1)
                rows.delta = ((game.x + rows.delta - low) / grid).round() * grid + low - game.x
            rows = yield rows
        game.submit(rows.delta)
