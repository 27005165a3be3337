"""Augmented Lagrangian method for adversarial attacks."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l2, linf, unit
from saddlepoint.threats import L1, L2

DUAL = {L1: linf, L2: l2}
FIRST_DISTANCE = {L1: 0.5, L2: 0.1}  # of the published code, for inputs in [0, 1]


@record
class ALMA(Attack):
    """Minimize the distance by RMSProp, subject to a negative difference of logits ratio, by an augmented Lagrangian.

    A general-purpose method that improves with steps; at a hundred, FMN and DDN come closer. Unlike CarliniWagner it needs
    no search for the weight of the constraint, which follows the constraint's violation from step to step.

    Attributes:
        steps: gradient evaluations.
        first_distance: of the first step from the input, at most, in input units; None means 0.1 (L2) or 0.5 (L1) times
            the width of the bounds.
        check_every: steps between looks at whether the constraint improves.
        improvement: the share of the ratio at the last look below which it counts as improved.
        growth: factor on the penalty parameter where it has not.
        smoothing: weight of the past in the multiplier, in RMSProp and in its momentum; None lets the memory of the three
            grow with the square root of the steps: 0.68 at a hundred, at a thousand the published 0.9, never below 0.5.

    Deviations: L1 and L2 only; the paper has SSIM, CIEDE2000 and LPIPS, too. The ratio is divided by that of the clean
    input, and the penalty weighed with the distance at which a linear model would turn, at most one width of the bounds:
    with both, inputs near the boundary, whose ratio is close to zero from the start, are no harder than others. For the same
    reason the first step goes no farther than that distance. Where its gradient is zero, it takes a random direction.
    The paper's experiments smooth by 0.9 at a thousand steps and by 0.5 at a hundred, where 0.68 comes closer.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, L1)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="rony2021augmented",
        title="Augmented Lagrangian Adversarial Attacks",
        authors="Rony, J{\\'e}r{\\^o}me and Granger, Eric and Pedersoli, Marco and Ben Ayed, Ismail",
        year=2021,
        venue="IEEE International Conference on Computer Vision",
        arxiv="2011.11857",
    )
    steps: Count = 100
    first_distance: StepSize | None = None
    check_every: Count = 10
    improvement: Share = 0.95
    growth: StepSize = 1.2
    smoothing: Share | None = None

    @property
    def past(self) -> float:
        """Weight of the past: a memory of ten steps, right for a thousand, is too slow for a hundred of them."""
        return max(0.5, 1 - (10 / self.steps) ** 0.5) if self.smoothing is None else self.smoothing

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, self.steps

    def run(self, game: Game) -> Iterator[Rows]:
        kind = type(game.threat)
        low, high = game.model.bounds
        zero = game.start(random=False)
        one = torch.ones_like(zero.flatten(1)[:, 0])
        rows = Rows(
            delta=zero, square=torch.ones_like(zero), momentum=zero, clean=one, weight=one,
            multiplier=one, penalty=one, then=one, step=one, found_at=one * self.steps,
        )  # fmt: skip
        for k in range(self.steps):
            delta = rows.delta.requires_grad_()
            ratio = game.goal.dlr(game.logits(delta)) + 1e-4  # a little beyond the boundary, or rounding would undo it
            if k == 0:
                rows.clean = ratio.detach()
                gradient = game.gradient(ratio / rows.clean, delta)
                near = 1 / DUAL[kind](gradient).clamp_min(1e-12)
                rows.weight = near.clamp(1e-6 * (high - low), high - low)
                gradient = self.directed(game, gradient) * expand_as(rows.weight, gradient)
            else:
                self.update(rows, ratio.detach() / rows.clean, k)
                penalty = rows.weight * lagrangian(ratio / rows.clean, rows.penalty, rows.multiplier)
                gradient = game.gradient(kind.norm(delta) + penalty, delta)
            rows.square = self.past * rows.square + (1 - self.past) * gradient.square()
            rows.momentum = self.past * rows.momentum + gradient / (rows.square.sqrt() + 1e-8)
            if k == 0:
                wanted = near.clamp_max(self.first_distance or FIRST_DISTANCE[kind] * (high - low))
                rows.step = first_step(game, rows.momentum, wanted)
            late = (k - rows.found_at).clamp_min(0) / (self.steps - rows.found_at).clamp_min(1)
            rows.delta = game.project(delta.detach() - expand_as(rows.step * 0.01**late, delta) * rows.momentum)
            rows = yield rows
        game.submit(rows.delta)

    def directed(self, game: Game, gradient: Tensor) -> Tensor:
        """The gradient, or a random direction where it is zero."""
        flat = l2(gradient) == 0
        random = game.noise.normal(*gradient.shape[1:], dtype=gradient.dtype)
        return torch.where(expand_as(flat, gradient), unit(random, l2(random)), gradient)

    def update(self, rows: Rows, ratio: Tensor, k: int) -> None:
        """Raise the penalty where nothing is found and nothing improves; let the multiplier follow the violation."""
        rows.found_at = torch.where((ratio < 0) & (rows.found_at == self.steps), k, rows.found_at)
        if (k + 1) % self.check_every == 0:
            stuck = (rows.found_at == self.steps) & (ratio >= self.improvement * rows.then)
            rows.penalty = torch.where(stuck, self.growth * rows.penalty, rows.penalty)
            rows.then = ratio
        slope = lagrangian_slope(ratio, rows.penalty, rows.multiplier)
        rows.multiplier = (self.past * rows.multiplier + (1 - self.past) * slope).clamp(1e-6, 1e12)


def first_step(game: Game, direction: Tensor, wanted: Tensor) -> Tensor:
    """The step size at which the first step ends `wanted` away from the input, by bisection; it asks the model nothing."""
    norm = type(game.threat).norm
    least = wanted / norm(direction).clamp_min(torch.finfo(direction.dtype).tiny)  # enough where nothing is clipped
    lower, upper = torch.zeros_like(least), torch.full_like(least, 20.0)  # octaves above it
    for _ in range(20):
        middle = (lower + upper) / 2
        short = norm(game.project(-expand_as(least * 2**middle, direction) * direction)) < wanted
        lower, upper = torch.where(short, middle, lower), torch.where(short, upper, middle)
    return torch.where(upper < 20, least * 2**upper, least)


def lagrangian(y: Tensor, penalty: Tensor, multiplier: Tensor) -> Tensor:
    """The penalty-Lagrangian P2 of Birgin, Castillo and Martinez, which the paper chose among many."""
    above = multiplier * y + multiplier * penalty * y.square() + penalty.square() * y**3 / 6
    below = multiplier * y / (1 - penalty * y.clamp_max(0))
    return torch.where(y >= 0, above, below)


def lagrangian_slope(y: Tensor, penalty: Tensor, multiplier: Tensor) -> Tensor:
    """Its derivative with respect to y."""
    above = multiplier + 2 * multiplier * penalty * y + penalty.square() * y.square() / 2
    return torch.where(y >= 0, above, multiplier / (1 - penalty * y.clamp_max(0)).square())
