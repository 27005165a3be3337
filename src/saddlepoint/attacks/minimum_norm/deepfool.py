"""DeepFool."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L2, Linf


@record
class DeepFool(Attack):
    """Step onto the nearest of the linearized class boundaries, again and again, until the answer changes.

    Very cheap, and close to the smallest change on nets that are nearly linear between classes; DDN and CarliniWagner get
    closer at more cost. The mean of size over norm of the input is the paper's robustness measure rho_adv.

    Attributes:
        steps: linearizations at most.
        candidates: how many of the likeliest classes of the clean input to consider, the answer itself included.
        overshoot: how far beyond the boundary, relative to the whole change.
        bisections: of the step that crossed the boundary; 0 for the paper's result.

    Deviations: candidates are clipped to the bounds of the model. The last step is shortened by bisection. A targeted goal
    linearizes the one boundary between the answer and the target.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, Linf)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
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
    overshoot: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02
    bisections: Annotated[int, Field(ge=0)] = 4

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2 + self.bisections, self.steps * (min(self.candidates, classes) - 1)

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(change=game.start(random=False), before=game.start(random=False), classes=self.classes(game))
        for _ in range(self.steps):
            delta = game.project((1 + self.overshoot) * rows.change).requires_grad_()
            logits = game.logits(delta)
            answer = game.goal.y if isinstance(game.goal, Untargeted) else logits.argmax(1)
            gaps = logits.gather(1, rows.classes) - logits.gather(1, answer[:, None])
            slopes = game.jacobian(gaps, delta)  # (b, candidates, *shape)
            step = nearest(game, gaps.detach(), slopes)
            self.pull_back(game, rows.before, delta.detach())
            rows.before, rows.change = delta.detach(), rows.change + step
            game.retire(game.found)
            rows = yield rows
        game.submit(game.project((1 + self.overshoot) * rows.change))

    def pull_back(self, game: Game, before: Tensor, delta: Tensor) -> None:
        """Look between the last two iterates of the rows just won for a closer win; the game keeps the best."""
        won = game.found
        for _ in range(self.bisections if won.any() else 0):
            middle = (before + delta) / 2
            closer = expand_as(game.margin(middle, where=won) < 0, middle)
            before, delta = torch.where(closer, before, middle), torch.where(closer, middle, delta)

    def classes(self, game: Game) -> Tensor:
        """(b, candidates) classes whose boundary may be crossed."""
        if isinstance(game.goal, Targeted):
            return game.goal.y[:, None]
        assert isinstance(game.goal, Untargeted)
        others = game.clean_logits.scatter(1, game.goal.y[:, None], -torch.inf)
        return others.topk(min(self.candidates, others.shape[1]) - 1, dim=1).indices


def nearest(game: Game, gaps: Tensor, slopes: Tensor) -> Tensor:
    """The smallest step that closes one of the gaps if the model were linear."""
    flat = slopes.flatten(2)
    dual = flat.abs().sum(2) if isinstance(game.threat, Linf) else flat.norm(dim=2)
    distance = torch.where(dual > 0, gaps.abs() / dual, torch.inf)
    chosen = distance.argmin(dim=1)
    rows = torch.arange(len(chosen), device=chosen.device)
    length = torch.where(distance[rows, chosen].isfinite(), distance[rows, chosen] + 1e-4, 0)
    slope = slopes[rows, chosen]
    if isinstance(game.threat, Linf):
        return expand_as(length, slope) * slope.sign()
    return expand_as(length / dual[rows, chosen].clamp_min(1e-30), slope) * slope
