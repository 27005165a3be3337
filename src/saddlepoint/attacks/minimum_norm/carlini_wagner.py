"""The L2 attack of Carlini and Wagner."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from saddlepoint.attacks.minimum_norm.ddn import DDN
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import margin, of_class, without
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L2

EDGE = 1e-4  # how far from +-1 the tanh starts at pixels on the bounds, where its slope would vanish


@record
class CarliniWagner(Attack):
    """Minimize |delta|^2 + c f(x + delta) by Adam in tanh space, and search for the c that is just large enough.

    The classic strong minimum-norm attack. `start=None, searches=9` is the paper's; the default first lets a short DDN
    find the neighborhood, which saves nearly all of the binary search.

    Attributes:
        steps: Adam steps of each search.
        searches: values of c to try a row.
        step_size: of Adam, in tanh space.
        first_constant: the first c; with `start`, c is read off the start instead.
        confidence: by how much the goal must win, in the model's own logits.
        objective: f1 to f7 of the paper. f6 is the hinge on the margin; f2 to f4 are the paper's weak ones.
        abort_early: a row ends a search when its loss has stopped falling.
        start: an attack whose result the search starts from, or None for the clean input.

    Deviations: f1 and f5 are used in their corrected form (as printed, f1 has the wrong sign and f5 no real value). c keeps
    its meaning at any scale of the logits, because the game scales them. Each search continues from the last point of the
    one before it instead of from the start. Abortion is by row, not by batch.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2,)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="carlini2017towards",
        title="Towards Evaluating the Robustness of Neural Networks",
        authors="Carlini, Nicholas and Wagner, David",
        year=2017,
        venue="IEEE Symposium on Security and Privacy",
        arxiv="1608.04644",
    )
    steps: Count = 40
    searches: Count = 5
    step_size: StepSize = 0.01
    first_constant: StepSize = 1e-3
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    objective: Literal["f1", "f2", "f3", "f4", "f5", "f6", "f7"] = "f6"
    abort_early: bool = True
    start: Attack | None = DDN(steps=40)

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        first = self.start.passes(features, classes) if self.start else (0, 0)
        steps = self.searches * self.steps
        return first[0] + steps + 1, first[1] + steps + 1

    def run(self, game: Game) -> Iterator[Rows]:
        game.insist(self.confidence)
        if self.start is not None:
            yield from game.stage(self.start)
        low, high = game.model.bounds

        def image(w: Tensor) -> Tensor:
            return (w.tanh() + 1) * ((high - low) / 2) + low

        def inverse(x: Tensor) -> Tensor:
            return ((2 * (x - low) / (high - low) - 1) * (1 - EDGE)).atanh()

        w = inverse(game.best)
        constant = torch.full_like(w.flatten(1)[:, 0], self.first_constant)
        rows = Rows(
            w=w, origin=inverse(game.x), constant=constant, lower=torch.zeros_like(constant), upper=constant + torch.inf
        )
        for search in range(self.searches):
            rows.mean = rows.square = torch.zeros_like(rows.w)
            rows.won, rows.active = (
                torch.zeros_like(rows.lower, dtype=torch.bool),
                torch.ones_like(rows.lower, dtype=torch.bool),
            )
            rows.then = rows.lower + torch.inf
            for k in range(1, self.steps + 1):
                w = rows.w.requires_grad_()
                delta = image(w) - game.x
                logits = game.logits(delta, where=rows.active)
                badness = self.badness(game, logits)
                distance = (image(w) - image(rows.origin)).flatten(1).square().sum(1)
                if search == 0 and k == 1 and self.start is not None:
                    rows.constant = self.stationary(game, badness, delta, distance)
                loss = distance + rows.constant * badness
                gradient = game.gradient(loss, w)
                rows.won = rows.won | (game.goal.margin(logits.detach()) < -self.confidence / game.scale) & rows.active
                rows.mean = 0.9 * rows.mean + 0.1 * gradient
                rows.square = 0.999 * rows.square + 0.001 * gradient.square()
                root = (rows.square / (1 - 0.999**k)).sqrt() + 1e-8
                step = self.step_size * rows.mean / (1 - 0.9**k) / root
                rows.w = w.detach() - step * expand_as(rows.active, step)
                if self.abort_early and k % math.ceil(self.steps / 10) == 0:
                    rows.active = rows.active & (loss.detach() < 0.9999 * rows.then)
                    rows.then = loss.detach()
                rows = yield rows
                if not rows.active.any():
                    break
            rows.upper = torch.where(rows.won, rows.upper.minimum(rows.constant), rows.upper)
            rows.lower = torch.where(rows.won, rows.lower, rows.lower.maximum(rows.constant))
            between = (rows.lower + rows.upper) / 2
            rows.constant = torch.where(rows.upper.isfinite(), between, 10 * rows.constant)

    def stationary(self, game: Game, badness: Tensor, delta: Tensor, distance: Tensor) -> Tensor:
        """The c at which the pull toward x and the push over the boundary balance: 2 |delta| / |gradient of f|."""
        slope = game.gradient(badness, delta, retain=True).flatten(1).norm(dim=1)
        return torch.where(slope > 0, 2 * distance.detach().sqrt() / slope, self.first_constant).clamp_min(1e-6)

    def badness(self, game: Game, logits: Tensor) -> Tensor:
        """f of the paper, at most zero exactly when the goal is reached (f4, f5: when its probability is one half)."""
        gap = game.goal.margin(logits) + self.confidence / game.scale
        toward = isinstance(game.goal, Targeted)
        y = game.goal.y  # type: ignore[attr-defined]  # all goals of this attack have one
        logp = logits.log_softmax(1)
        wanted = of_class(logp, y) if toward else without(logp, y).logsumexp(1)  # log probability of winning
        match self.objective:
            case "f1":
                return 1 - wanted
            case "f2":
                return (self.probability_gap(logp, y) * (1 if toward else -1)).relu()
            case "f3":
                return softplus(self.probability_gap(logp, y) * (1 if toward else -1)) - math.log(2)
            case "f4":
                return (0.5 - wanted.exp()).relu()
            case "f5":
                return -wanted - math.log(2)
            case "f6":
                return gap.relu()
            case _:
                return softplus(gap) - math.log(2)

    def probability_gap(self, logp: Tensor, y: Tensor) -> Tensor:
        """Largest probability of another class minus that of y."""
        return -margin(logp.exp(), y)
