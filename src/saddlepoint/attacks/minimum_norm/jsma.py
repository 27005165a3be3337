"""Jacobian saliency map attack."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, field_validator

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import of_class, without
from saddlepoint.ops.search import best_pair
from saddlepoint.threats import L0


@record
class JSMA(Attack):
    """Change the pair of features that most raises the target's logit and lowers the others', again and again.

    Few features, large changes. The pair search is exact without a table of all pairs, so that large inputs are no
    harder than small ones.

    Attributes:
        theta: what is added to a chosen feature, in units of the width of the bounds; negative to darken.
        max_distortion: share of the features that may change (the paper's Upsilon).
        others: what must fall while the target rises: the logit of its strongest "rival", or the "sum" of all others.

    Deviations: under an untargeted goal the signs are turned: the pair that most lowers the logit of `y` and raises the
    others' (the non-targeted JSMA of Wiyatno and Xu, 2018). Logits, not probabilities, on which the map degenerates. The
    paper's map is `others="sum"`; against the rival alone fewer features need to change.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L0,)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 2.0
    paper: ClassVar = Paper(
        key="papernot2016limitations",
        title="The Limitations of Deep Learning in Adversarial Settings",
        authors="Papernot, Nicolas and McDaniel, Patrick and Jha, Somesh and Fredrikson, Matt and Celik, Z. Berkay"
        " and Swami, Ananthram",
        year=2016,
        venue="IEEE European Symposium on Security and Privacy",
        arxiv="1511.07528",
    )
    theta: Annotated[float, Field(ge=-1, le=1)] = 1.0
    max_distortion: Share = 0.145
    others: Literal["rival", "sum"] = "rival"

    @field_validator("theta")
    @classmethod
    def _moves(cls, theta: float) -> float:
        if theta == 0:
            raise ValueError("above or below zero")
        return theta

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        pairs = self.pairs(features)
        return pairs + 2, 2 * pairs

    def pairs(self, features: int) -> int:
        """How many pairs may change."""
        return max(1, math.floor(self.max_distortion * features / 2))

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        theta = self.theta * (high - low)
        toward = (1 if isinstance(game.goal, Targeted) else -1) * math.copysign(1, theta)
        rows = Rows(delta=game.start(random=False))
        for _ in range(self.pairs(game.x[0].numel())):
            delta = rows.delta.requires_grad_()
            logits = game.logits(delta)
            wanted = of_class(logits, game.goal.y)  # type: ignore[attr-defined]  # all goals of this attack have one
            rest = without(logits, game.goal.y).amax(1) if self.others == "rival" else logits.sum(1) - wanted  # type: ignore[attr-defined]
            alpha, beta = game.jacobian(torch.stack([wanted, rest], dim=1), delta).flatten(2).unbind(1)
            game.retire(game.found)
            at = (game.x + delta.detach()).flatten(1)
            movable = at < high if theta > 0 else at > low
            p, q, exists = best_pair(toward * alpha, toward * beta, movable)
            game.retire(~exists)
            chosen = torch.zeros_like(at).scatter(1, torch.stack([p, q], dim=1), theta) * exists[:, None]
            rows.delta = (at + chosen).clamp(low, high).view_as(delta) - game.x
            rows = yield rows
        game.submit(rows.delta)
