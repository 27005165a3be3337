"""Natural evolution strategies that see answers only."""

from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.score.nes import LIMITED
from saddlepoint.attacks.score.partial_nes import PartialNES, toward
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access


@record
class LabelNES(PartialNES):
    """PartialNES without scores: the rank of the target, averaged over small random changes, stands in for its score.

    The paper's third threat model, label only, and by far the dearest: HopSkipJump gets more out of the same answers. With
    `top=1` it needs a model that answers with labels, and holds whatever answer reaches the goal; with more, one whose
    scores give the order of the top classes, and of which nothing else is read.

    Attributes:
        sigma: standard deviation of the probes, in input units.
        blur: largest of the small changes, in input units.
        votes: small changes a probe; an estimate costs `samples * votes` queries.

    The others are those of PartialNES.

    Deviations: those of PartialNES. Probes are farther apart than the paper's, since what is averaged is constant except
    near the boundary.
    """

    paper: ClassVar = LIMITED
    slack: ClassVar = 1.5
    sigma: StepSize = 0.01
    blur: StepSize = 0.01
    votes: Count = 10

    @property
    def access(self) -> Access:  # type: ignore[override]  # how much is needed depends on `top`
        return Access.LABELS if self.top == 1 else Access.SCORES

    def queries(self) -> int:
        return self.samples * self.votes

    def begins(self, game: Game, delta: Tensor, where: Tensor) -> Tensor:
        return super().begins(game, delta, where) if self.top > 1 else game.wins(delta, where=where)

    def holds(self, game: Game, delta: Tensor, where: Tensor) -> Tensor:
        return super().holds(game, delta, where) if self.top > 1 else game.wins(delta, where=where)

    def value(self, game: Game, probes: Tensor) -> Tensor:
        """The mean over small changes of minus how far up the target is, or of how far up the true class is."""
        low, high = game.model.bounds
        x, total = game.x[:, None], torch.zeros_like(probes.flatten(2)[:, :, 0])
        for _ in range(self.votes):
            change = self.blur * (2 * game.noise.uniform(*probes.shape[1:], dtype=probes.dtype) - 1)
            total = total + self.rank(game, (x + probes + change).clamp(low, high) - x)
        return total / self.votes

    def rank(self, game: Game, delta: Tensor) -> Tensor:
        """`top` where the goal's class is first, zero where it is not named, with the sign that the goal gives it."""
        if self.top == 1:
            return -game.wins(delta, population=True).to(delta.dtype)
        of_class = self.seen(game.logits(delta, population=True))[1] == game.goal.y[:, None, None]
        points = torch.arange(of_class.shape[-1], 0, -1, dtype=delta.dtype, device=delta.device)
        return (of_class * points).sum(-1) * (-1 if toward(game) else 1)
