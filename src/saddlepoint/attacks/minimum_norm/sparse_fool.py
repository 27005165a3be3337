"""SparseFool."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.minimum_norm.boundaries import gaps, wrong_classes
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l2, pixels, unit
from saddlepoint.ops.trust_region import fill
from saddlepoint.threats import L0, L1

PART = 1 / 256  # of a feature, to which a win of L1 is pruned


@record
class SparseFool(Attack):
    """Find the boundary by DeepFool, linearize it there, and cross it with the fewest features, again and again.

    Cheap, and sparse at once: ten times fewer gradients than BrendelBethge, which needs fewer pixels. JSMA chooses its
    features by the slope at the clean input, one pair a step.

    Attributes:
        steps: linearizations at most.
        boundary_steps: of DeepFool to find the boundary, at most, for each of them.
        candidates: how many of the likeliest classes of the clean input to consider, the answer itself included.
        reach: how far away the boundary is assumed, in units of where DeepFool found it: more makes fewer linearizations
            and more changed pixels (the paper's lambda).
        growth: of `reach` from one linearization to the next; 1 in the paper.
        overshoot: how far beyond the boundary, relative to the whole change.

    Deviations: every linear problem starts at the clean input, as in the code of the authors, and is solved by sorting. For
    L0 features are taken in the order of what they can gain within the bounds, which is the exact solution there; in the
    order of their slopes, as in the paper, for L1, where that is. Of the changed pixels of a win, those that come last in
    this order are restored as long as it stays one, by bisection. `reach` grows. A targeted goal has one boundary only.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L0, L1)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="modas2019sparsefool",
        title="SparseFool: A Few Pixels Make a Big Difference",
        authors="Modas, Apostolos and Moosavi-Dezfooli, Seyed-Mohsen and Frossard, Pascal",
        year=2019,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1811.02248",
    )
    steps: Count = 20
    boundary_steps: Count = 10
    candidates: Annotated[int, Field(ge=2)] = 10
    reach: StepSize = 3.0
    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.2
    overshoot: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        boundary = self.steps * self.boundary_steps
        backwards = boundary * (min(self.candidates, classes) - 1) + self.steps
        return boundary + self.steps + halvings(features / PART) + 2, backwards

    def run(self, game: Game) -> Iterator[Rows]:
        zero = game.start(random=False)
        rows = Rows(delta=zero, edge=zero, classes=wrong_classes(game, self.candidates - 1))
        rows.rank = torch.zeros_like(rows.classes[:, :1])
        for t in range(self.steps):
            rows.edge, rows.over = rows.delta, torch.zeros_like(rows.classes[:, 0], dtype=torch.bool)
            for k in range(self.boundary_steps):
                edge = rows.edge.requires_grad_()
                logits = game.logits(edge, where=~rows.over)
                missing = gaps(game.goal, logits, rows.classes)
                step = (1 + self.overshoot) * nearest(missing.detach(), game.jacobian(missing, edge))
                rows.over = rows.over | (game.goal.margin(logits.detach()) < 0)
                rows.edge = torch.where(expand_as(rows.over, step), edge.detach(), game.project(edge.detach() + step))
                if k == 0:  # the first point is the result of the linear problem before
                    prune(game, rows)
                    game.retire(rows.over)
                rows = yield rows
                if rows.over.all():
                    break
            edge = rows.edge.requires_grad_()
            gradient = game.gradient(game.margin(edge), edge)
            rows.delta, rows.rank = self.sparse(game, edge.detach(), -gradient, self.reach * self.growth**t)
            rows = yield rows
        game.submit(rows.delta)

    def sparse(self, game: Game, edge: Tensor, normal: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        """The sparsest change that reaches the plane through `edge`, and the rank of each pixel in the order of its use."""
        low, high = game.model.bounds
        level = reach * (normal * edge).flatten(1).sum(1).abs()
        room = torch.where(normal > 0, high - game.x, torch.where(normal < 0, game.x - low, 0))
        gain = normal.abs() * room
        if isinstance(game.threat, L0):
            worth = pixels(gain).sum(1)
            first = worth
        else:
            worth, first = gain.flatten(1), (normal.abs() * (room > 0)).flatten(1)
        share = fill(first, worth, level)
        share = share[:, None].expand(pixels(gain).shape) if isinstance(game.threat, L0) else share
        delta = normal.sign() * room * share.reshape(room.shape)
        rank = first.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return game.project((1 + self.overshoot) * delta), rank


def nearest(missing: Tensor, slopes: Tensor) -> Tensor:
    """The shortest step, as DeepFool takes it in L2, that closes one of the gaps (b, m) if the model were linear."""
    size = slopes.flatten(2).norm(dim=2)
    distance = torch.where(size > 0, missing.abs() / size, torch.inf)
    rows, chosen = torch.arange(len(distance), device=distance.device), distance.argmin(dim=1)
    length = torch.where(distance[rows, chosen].isfinite(), distance[rows, chosen] + 1e-4, 0)
    slope = slopes[rows, chosen] * expand_as(missing[rows, chosen].sign(), slopes[:, 0])
    return -expand_as(length, slope) * unit(slope, l2(slope))


def prune(game: Game, rows: Rows) -> None:
    """Look for the fewest leading pixels with which the rows just won still win; for L1, the last of them in part."""
    delta = rows.delta.detach()
    grid = pixels(delta) if rows.rank.shape[1] == pixels(delta).shape[2] else delta.flatten(1)[:, None]
    few, many = torch.zeros_like(delta.flatten(1)[:, 0]), torch.full_like(delta.flatten(1)[:, 0], grid.shape[2])
    finest = 1.0 if isinstance(game.threat, L0) else PART
    for _ in range(halvings(grid.shape[2] / finest) if rows.over.any() else 0):
        middle = ((few + many) / 2 / finest).floor() * finest
        kept = (middle[:, None] - rows.rank).clamp(0, 1)[:, None]
        won = game.margin((grid * kept).reshape(delta.shape), where=rows.over & (many - few > finest)) < 0
        few, many = torch.where(won, few, middle), torch.where(won, middle, many)


def halvings(parts: float) -> int:
    """Of an interval of so many whole numbers, until one is left."""
    return math.ceil(math.log2(parts)) + 1
