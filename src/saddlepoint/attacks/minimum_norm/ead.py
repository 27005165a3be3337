"""Elastic-net attack."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L1

FEW = 0.25  # share of the features that the first c lets move
WIDER = 5.0  # how much farther to look for a c that wins at all
CALMER = 0.8  # the step size of a search over that of the one before


@record
class EAD(Attack):
    """Minimize c f(x + delta) + beta |delta|_1 + |delta|_2^2 by FISTA, and search for the c that is just large enough.

    CarliniWagner with an L1 term, whose shrinkage leaves most features exactly as they were: a small L1 change. For the
    fewest changed pixels, whatever their change, use CarliniWagner under L0.

    Attributes:
        steps: FISTA steps of each search.
        searches: values of c to try a row.
        step_size: how far the L1 term pulls every feature back in a step, in units of the width of the bounds.
        beta: weight of the L1 norm against the squared L2 norm, where the bounds are one apart. Above 10 it is all L1.
        first_constant: the first c over beta; None reads it off the slope of f at x.
        confidence: by how much the goal must win, in the model's own logits.

    Deviations: f is the hinge on the margin (f6 of Carlini and Wagner). The smallest win by the L1 norm is kept (the paper's
    L1 decision rule; its elastic rule agrees with it when beta is large). The paper shrinks by a constant beta while its
    step size falls, which weighs L1 ever more; here the shrinkage falls with the step. One pass a step: f, its slope and the
    success are all taken at the extrapolated point. Each search goes on from the best win so far with smaller steps than the
    one before, and c is tripled, halved or bisected on a logarithmic scale. The first c moves the twenty steepest features.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L1,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="chen2018ead",
        title="EAD: Elastic-Net Attacks to Deep Neural Networks via Adversarial Examples",
        authors="Chen, Pin-Yu and Sharma, Yash and Zhang, Huan and Yi, Jinfeng and Hsieh, Cho-Jui",
        year=2018,
        venue="AAAI Conference on Artificial Intelligence",
        arxiv="1709.04114",
    )
    steps: Count = 40
    searches: Count = 6
    step_size: StepSize = 0.02
    beta: StepSize = 10.0
    first_constant: StepSize | None = None
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        steps = self.searches * self.steps
        return steps + 2, steps

    def run(self, game: Game) -> Iterator[Rows]:
        game.insist(self.confidence)
        low, high = game.model.bounds
        zero, still = torch.zeros_like(game.x.flatten(1)[:, 0]), game.start(random=False)
        rows = Rows(
            delta=still, ahead=still, won=zero > 0,
            first=zero + (self.first_constant or torch.nan), constant=zero, lower=zero, upper=zero + torch.inf,
        )  # fmt: skip
        for search in range(self.searches):
            lost = expand_as((game.best == game.x).flatten(1).all(1), rows.delta)
            rows.delta = rows.ahead = torch.where(lost, rows.delta, game.best - game.x)
            rows.won = torch.zeros_like(rows.won)
            for k in range(self.steps):
                ahead = rows.ahead.requires_grad_()
                gap = game.margin(ahead) + self.confidence / game.scale
                slope = game.gradient(gap, ahead)
                ahead, gap = ahead.detach(), gap.detach()
                if search == k == 0:
                    rows.first = torch.where(rows.first.isnan(), letting_few_move(slope), rows.first)
                    rows.constant = rows.first
                rows.won = rows.won | (gap < 0)
                step = self.step_size * (high - low) * CALMER**search * math.sqrt(1 - k / self.steps)
                uphill = expand_as(rows.constant * (gap >= 0), slope) * slope + 2 / self.beta * ahead / (high - low)
                delta = shrink(ahead - step * uphill, step).clamp(low - game.x, high - game.x)
                rows.ahead = game.project(delta + k / (k + 3) * (delta - rows.delta))
                rows.delta = delta
                rows = yield rows
            self.choose(rows, search)
        game.submit(rows.delta)

    def choose(self, rows: Rows, search: int) -> None:
        """The next c: bisected between loss and win, halved after wins only; before any win, ever farther to both sides."""
        rows.upper = torch.where(rows.won, rows.upper.minimum(rows.constant), rows.upper)
        rows.lower = torch.where(rows.won, rows.lower, rows.lower.maximum(rows.constant))
        bracket = (rows.lower > 0) & (rows.lower < rows.upper)
        after = torch.where(bracket, (rows.lower * rows.upper).sqrt(), rows.upper / 2)
        farther = (search // 2 + 1) * (1 if search % 2 else -1)
        rows.constant = torch.where(rows.upper.isfinite(), after, rows.first * WIDER**farther)


def letting_few_move(slope: Tensor) -> Tensor:
    """The c over beta at which the push of f outweighs the pull of L1 for a few features only."""
    steep = slope.flatten(1).abs()
    least = steep.topk(math.ceil(FEW * steep.shape[1]), dim=1).values[:, -1]
    return torch.where(least > 0, 1 / least, 1.0)


def shrink(delta: Tensor, by: float) -> Tensor:
    """Soft threshold: the proximal step of the L1 norm."""
    return delta.sign() * (delta.abs() - by).relu()
