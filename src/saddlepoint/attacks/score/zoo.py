"""Zeroth order optimization."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.score.estimate import NUMBERS_AT_ONCE
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.threats import L2

GROWTH = 10  # of c, while it does not suffice
SMALLEST = 1e-6  # c that is read off


@record
class ZOO(Attack):
    """Minimize |delta|^2 + c max(margin, 0) by coordinate descent, two queries a coordinate, and search for the right c.

    What CarliniWagner does with gradients, from scores: thousands of queries for a small image. HopSkipJump finds smaller
    changes for fewer; ZOO is the classic to compare with.

    Attributes:
        steps: for each c; a step moves `coordinates` features at once and costs two queries for each, and one more. None
            means as many as it takes to move every feature once.
        searches: values of c to try a row.
        coordinates: features a step, each feature as often as any other, in random order.
        solver: "adam", with moments and a count of steps for each feature, or "newton".
        step_size: of Adam, in input units; with "newton", the share of the Newton step that is taken.
        first_constant: the first c; None reads it off the first step: the c that would just do if the margin were linear.
        confidence: by how much the goal must win, in the model's own logits.
        probe: distance of the two queries from the point, in input units.
        importance: prefer features around which the change is large, as the paper does for large images.

    Deviations: features stay in the box by projection, as the paper does for ImageNet, since in tanh space those at the
    bounds hardly move. The distance is differentiated exactly; only the margin is probed, and farther away than the paper's
    1e-4, below which single precision has no second differences. Each c continues from the last point instead of from
    x. No feature is drawn again before all others have been. There is no hierarchy of resolutions.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.3
    paper: ClassVar = Paper(
        key="chen2017zoo",
        title="ZOO: Zeroth Order Optimization Based Black-Box Attacks to Deep Neural Networks Without Training"
        " Substitute Models",
        authors="Chen, Pin-Yu and Zhang, Huan and Sharma, Yash and Yi, Jinfeng and Hsieh, Cho-Jui",
        year=2017,
        venue="ACM Workshop on Artificial Intelligence and Security",
        arxiv="1708.03999",
    )
    steps: Count | None = None
    searches: Count = 9
    coordinates: Count = 128
    solver: Literal["adam", "newton"] = "newton"
    step_size: StepSize = 1.0
    first_constant: StepSize | None = None
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    probe: StepSize = 1e-2
    importance: bool = False

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.searches * self.rounds(features) * (2 * min(self.coordinates, features) + 1) + 1, 0

    def rounds(self, features: int) -> int:
        """Steps for each c."""
        return self.steps or math.ceil(features / self.coordinates)

    def run(self, game: Game) -> Iterator[Rows]:
        game.insist(self.confidence)
        delta, zero = game.start(random=False), torch.zeros_like(game.x.flatten(1))
        constant = torch.full_like(zero[:, 0], self.first_constant or 0.0)
        value = self.hinged(game, game.clean_logits)
        rows = Rows(delta=delta, value=value, constant=constant, lower=0 * constant, upper=constant + torch.inf, visits=zero)
        for _ in range(self.searches):
            rows.mean = rows.square = rows.count = torch.zeros_like(rows.visits)
            rows.won = torch.zeros_like(rows.constant, dtype=torch.bool)
            for _ in range(self.rounds(zero.shape[1])):
                chosen = self.choose(game, rows)
                rows.visits = rows.visits.scatter_add(1, chosen, torch.ones_like(chosen, dtype=rows.visits.dtype))
                self.descend(game, rows, chosen)
                rows.value = self.hinged(game, game.logits(rows.delta))
                rows.won = rows.won | (rows.value <= 0)
                rows = yield rows
            rows.upper = torch.where(rows.won, rows.upper.minimum(rows.constant), rows.upper)
            rows.lower = torch.where(rows.won, rows.lower, rows.lower.maximum(rows.constant))
            between = (rows.lower + rows.upper) / 2
            rows.constant = torch.where(rows.upper.isfinite(), between, GROWTH * rows.constant)

    def hinged(self, game: Game, logits: Tensor) -> Tensor:
        """max(margin + confidence, 0) of logits (b, *m, k)."""
        scale = game.scale.view(-1, *[1] * (logits.dim() - 2))
        return (game.goal.margin(logits) + self.confidence / scale).relu()

    def choose(self, game: Game, rows: Rows) -> Tensor:
        """(b, coordinates) features to move, those first that have moved least often."""
        c, h, w = as_image(game.x)
        key = game.noise.uniform(c * h * w, dtype=game.x.dtype)
        if self.importance:
            near = torch.nn.functional.max_pool2d(rows.delta.abs().view(-1, c, h, w), 3, stride=1, padding=1).flatten(1)
            weight = near + 1e-3 * (near.amax(1, keepdim=True) + 1e-30)
            return key.clamp_min(1e-30).log().div(weight).topk(min(self.coordinates, c * h * w), dim=1).indices
        return (rows.visits + key).topk(min(self.coordinates, c * h * w), dim=1, largest=False).indices

    def descend(self, game: Game, rows: Rows, chosen: Tensor) -> None:
        """Move the chosen features by their first and second differences."""
        first, second = self.differences(game, rows, chosen)
        if self.first_constant is None:
            slope = first.square().mean(1) * rows.visits.shape[1]
            linear = torch.where(slope > 0, 2 * rows.value / slope, 1.0).clamp(SMALLEST, 1 / SMALLEST)
            rows.constant = torch.where(rows.constant > 0, rows.constant, linear)
        at = rows.delta.flatten(1).gather(1, chosen)
        gradient, curvature = 2 * at + rows.constant[:, None] * first, 2 + rows.constant[:, None] * second
        if self.solver == "newton":
            step = gradient / torch.where(curvature < 0, 1.0, curvature.clamp_min(0.1))
        else:
            count = rows.count.gather(1, chosen) + 1
            mean = 0.9 * rows.mean.gather(1, chosen) + 0.1 * gradient
            square = 0.999 * rows.square.gather(1, chosen) + 0.001 * gradient.square()
            step = mean / (1 - 0.9**count) / ((square / (1 - 0.999**count)).sqrt() + 1e-8)
            rows.mean, rows.square = rows.mean.scatter(1, chosen, mean), rows.square.scatter(1, chosen, square)
            rows.count = rows.count.scatter(1, chosen, count)
        moved = rows.delta.flatten(1).scatter(1, chosen, at - self.step_size * step)
        rows.delta = game.project(moved.view_as(rows.delta))

    def differences(self, game: Game, rows: Rows, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """First and second derivative of the hinged margin by the chosen features (b, coordinates)."""
        low, high = game.model.bounds
        point = game.x + rows.delta
        at, flat = point.flatten(1).gather(1, chosen), point.flatten(1)[:, None]
        up, down = (at + self.probe).clamp_max(high), (at - self.probe).clamp_min(low)
        answers = []
        part = max(1, NUMBERS_AT_ONCE // flat.shape[2])
        for there in (up, down):
            values = []
            for i, to in zip(chosen.split(part, dim=1), there.split(part, dim=1), strict=True):
                probes = flat.repeat(1, i.shape[1], 1).scatter(2, i[:, :, None], to[:, :, None])
                probes = probes.view(len(point), -1, *point.shape[1:]) - game.x[:, None]
                values.append(self.hinged(game, game.logits(probes, population=True)))
            answers.append(torch.cat(values, dim=1))
        above, below = up - at, at - down
        right = (answers[0] - rows.value[:, None]) / above.clamp_min(1e-30)
        left = (rows.value[:, None] - answers[1]) / below.clamp_min(1e-30)
        first = (answers[0] - answers[1]) / (above + below)
        second = torch.where((above > 0) & (below > 0), 2 * (right - left) / (above + below), 0.0)
        return first.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), second.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
