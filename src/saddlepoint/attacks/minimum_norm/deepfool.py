"""DeepFool."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.minimum_norm.boundaries import dual, gaps, wrong_classes
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as
from saddlepoint.ops.search import draw_in
from saddlepoint.threats import L2, Linf


@record
class DeepFool(Attack):
    """Step onto the nearest of the linearized class boundaries, again and again, until the answer changes.

    Very cheap, and close to the smallest change on nets that are nearly linear between classes; FAB, DDN and CarliniWagner
    get closer at more cost. The mean of size over norm of the input is the paper's robustness measure,
    `saddlepoint.metrics.rho_adv`.

    Attributes:
        steps: linearizations at most.
        candidates: how many of the likeliest classes of the clean input to consider, the answer itself included.
        shortlist: how many of them, the nearest, are looked at in most steps.
        refresh: every so many steps the shortlist is made anew, from the gradients of all candidates.
        overshoot: how far beyond the boundary, relative to the whole change.
        haste: by how much steps after the second are lengthened.
        bisections: looks for a closer win between the first one and the clean input, by false position.

    Deviations: `shortlist=9, haste=0, bisections=0` is the paper's. Steps after the second are longer, because the paper's
    approach the boundary ever more slowly; the result is then drawn in again, toward the clean input. Candidates are
    clipped to the bounds of the model. A goal that leaves no choice of a class has one boundary, that where the target is
    likelier than all other classes together.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, Linf)
    paper: ClassVar = Paper(
        key="moosavi2016deepfool",
        title="DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks",
        authors="Moosavi-Dezfooli, Seyed-Mohsen and Fawzi, Alhussein and Frossard, Pascal",
        year=2016,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1511.04599",
    )
    steps: Count = 50
    candidates: Annotated[int, Field(ge=2)] = 10
    shortlist: Count = 3
    refresh: Count = 4
    overshoot: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02
    haste: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    bisections: Annotated[int, Field(ge=0)] = 4

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        everything = min(self.candidates, classes) - 1
        full = math.ceil(self.steps / self.refresh)
        short = min(self.shortlist, everything)
        return self.steps + 2 + self.bisections, full * everything + (self.steps - full) * short

    def run(self, game: Game) -> Iterator[Rows]:
        classes = wrong_classes(game, self.candidates - 1)
        rows = Rows(change=game.start(random=False), classes=classes, near=classes[:, : self.shortlist])
        for k in range(self.steps):
            delta = game.project((1 + self.overshoot) * rows.change).requires_grad_()
            logits = game.logits(delta)
            full = k % self.refresh == 0
            classes = rows.classes if full else rows.near
            missing = gaps(game.goal, logits, classes)
            slopes = game.jacobian(missing, delta)  # (b, m, *shape)
            missing, margin = missing.detach(), game.goal.margin(logits.detach())
            distance = distances(game, missing, slopes)
            if full:
                rows.near = classes.gather(1, distance.topk(rows.near.shape[1], dim=1, largest=False).indices)
            step = onto(game, delta.detach(), distance, missing, slopes)
            rows.change = rows.change + (step if k < 2 else (1 + self.haste) * step)
            self.draw_in(game, delta.detach(), margin)
            game.retire(game.found)
            rows = yield rows
        game.submit(game.project((1 + self.overshoot) * rows.change))

    def draw_in(self, game: Game, delta: Tensor, margin: Tensor) -> None:
        """Look between x and the points that have just won for closer ones; the game keeps the best."""
        if self.bisections and game.found.any():
            draw_in(
                lambda middle, where: game.margin(middle, where=where), torch.zeros_like(delta), delta,
                game.goal.margin(game.clean_logits), margin, self.bisections,
            )  # fmt: skip


def distances(game: Game, missing: Tensor, slopes: Tensor) -> Tensor:
    """(b, m) how far each linearized boundary is; infinitely where there is no slope."""
    size = dual(game, slopes.flatten(0, 1)).view_as(missing)
    return torch.where(size > 0, missing.abs() / size, torch.inf)


def onto(game: Game, delta: Tensor, distance: Tensor, missing: Tensor, slopes: Tensor) -> Tensor:
    """The smallest step that closes one of the gaps, and 1e-4 more, if the model were linear."""
    rows, chosen = torch.arange(len(distance), device=distance.device), distance.argmin(dim=1)
    length, slope = distance[rows, chosen], slopes[rows, chosen]
    length = torch.where(length.isfinite(), length + 1e-4, 0) * missing[rows, chosen].sign()
    return expand_as(length, slope) * game.threat.steepest(game.x, delta, slope, game.model.bounds)
