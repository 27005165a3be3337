"""Jacobian saliency map attack."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import of_class, without
from saddlepoint.ops.search import best_feature, best_pair
from saddlepoint.threats import L0

SATURATED = 0.01  # of a step: with less room than that a feature is at its bound


@record
class JSMA(Attack):
    """Change the pair of features that most raises the target's logit and lowers the others', again and again.

    Few features, large changes. The pair search is exact without a table of all pairs, so that large inputs are no
    harder than small ones. `JSMA(others="sum", weighted=False, reuse=1)` is the paper's, which changes more features at
    more cost and fails more often.

    Attributes:
        theta: what is added to a chosen feature, in units of the width of the bounds; negative to darken. A feature that is
            not at its bound afterwards may be chosen again.
        max_distortion: share of the features that may change (the paper's Upsilon).
        features: how many are chosen together, 2 or 1.
        others: what must fall while the target rises: the output for its strongest "rival", or the "sum" of all others.
        output: "logits" (JSMA-Z), or the model's own "probabilities" (JSMA-F), which have no slope where it is sure.
        weighted: rank features by what a step can change, slope times room to the bound; else by slope alone.
        reuse: how many pairs one map may choose while by its slopes the goal is three times as far; 1 for a map a pair.

    Deviations: under an untargeted goal the signs are turned: the pair that most lowers the output for `y` and raises the
    others' (the non-targeted JSMA of Wiyatno and Xu, 2018). The defaults of `others`, `weighted` and `reuse` are not the
    paper's: against the rival alone, and without steps wasted on features that can hardly move, fewer need to change; and
    far from the goal the map hardly changes from pair to pair.
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
    features: Literal[1, 2] = 2
    others: Literal["rival", "sum"] = "rival"
    output: Literal["logits", "probabilities"] = "logits"
    weighted: bool = True
    reuse: Count = 8

    @field_validator("theta")
    @classmethod
    def _moves(cls, theta: float) -> float:
        if theta == 0:
            raise ValueError("above or below zero")
        return theta

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        steps = self.steps(features)
        return steps + 2, 2 * steps

    def groups(self, features: int) -> int:
        """How many pairs (or single features) may change."""
        return max(1, math.floor(self.max_distortion * features / self.features))

    def steps(self, features: int) -> int:
        """How many steps it takes at most to bring them all to their bounds."""
        return self.groups(features) * math.ceil(1 / abs(self.theta))

    def run(self, game: Game) -> Iterator[Rows]:
        toward = 1 if isinstance(game.goal, Targeted) == (self.theta > 0) else -1
        rows = Rows(at=game.x)
        for _ in range(self.steps(game.x[0].numel())):
            delta = (rows.at - game.x).requires_grad_()
            outputs, gap = self.outputs(game, game.logits(delta))
            alpha, beta = (toward * game.jacobian(outputs, delta)).flatten(2).unbind(1)
            game.retire(game.found)
            rows.at, exists = self.changed(game, rows.at, alpha, beta, gap)
            game.retire(~exists)
            rows = yield rows
        game.submit(rows.at - game.x)

    def outputs(self, game: Game, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 2) what the model says for the goal's class, and for the others; (b,) how far the class is from its rival."""
        y = game.goal.y  # type: ignore[attr-defined]  # all goals of this attack have one
        said = logits if self.output == "logits" else (logits * game.scale[:, None]).softmax(1)
        wanted, rival = of_class(said, y), without(said, y).amax(1)
        others = rival if self.others == "rival" else said.sum(1) - wanted
        return torch.stack([wanted, others], dim=1), (wanted - rival).detach().abs()

    def changed(self, game: Game, x_adv: Tensor, alpha: Tensor, beta: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        """The input after one map's changes, and whether the map had any to offer."""
        low, high = game.model.bounds
        theta = self.theta * (high - low)
        x, at = game.x.flatten(1), x_adv.flatten(1)
        room = high - at if theta > 0 else at - low
        reach = room.clamp_max(abs(theta)) if self.weighted else abs(theta)
        alpha, beta, free = alpha * reach, beta * reach, room > SATURATED * abs(theta)
        budget = self.features * self.groups(x.shape[1])
        going, needed = torch.ones_like(gap, dtype=torch.bool), torch.full_like(gap, torch.inf)
        for used in range(self.reuse):
            touched = at != x
            full = touched.sum(1, keepdim=True) + self.features > budget
            chosen, exists = self.best(alpha, beta, free & (touched | ~full))
            going = going & exists & (needed > 3 * (used + 1))
            if not used:
                offered, needed = going, gap / (alpha - beta).gather(1, chosen).sum(1)
            if not going.any():
                break
            change = torch.zeros_like(at).scatter(1, chosen, theta) * going[:, None]
            at, free = (at + change).clamp(low, high), free & (change == 0)
        return at.view_as(x_adv), offered

    def best(self, alpha: Tensor, beta: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """(b, 1 or 2) the most salient allowed features, and whether there are any."""
        if self.features == 1:
            p, exists = best_feature(alpha, beta, allowed)
            return p[:, None], exists
        p, q, exists = best_pair(alpha, beta, allowed)
        return torch.stack([p, q], dim=1), exists
