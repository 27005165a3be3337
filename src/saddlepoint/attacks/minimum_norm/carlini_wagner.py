"""The three attacks of Carlini and Wagner: what they share, and the search in L2."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.minimum_norm.carlini_wagner_l0 import eliminate
from saddlepoint.attacks.minimum_norm.carlini_wagner_linf import shrink
from saddlepoint.attacks.minimum_norm.carlini_wagner_terms import HINGED, SMALLEST, Objective, TanhBox, adam, unhinged, won
from saddlepoint.attacks.minimum_norm.ddn import DDN
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, linf
from saddlepoint.threats import L0, L2, Linf

HURRY = 10.0  # step size over the usual one, in rows where the start found nothing


@record
class CarliniWagner(Attack):
    """Minimize the size of delta plus c f(x + delta) by Adam in tanh space, and search for the c that is just large enough.

    The classic strong minimum-norm attack, one for each of three norms; the threat decides which. L2 penalizes |delta|^2.
    Linf penalizes what exceeds a bound tau, which shrinks whenever it is met. L0 plays the L2 game on ever fewer pixels.
    `start=None, searches=9` is the paper's; the default first lets a short DDN find the neighborhood, which saves nearly
    all of the binary search; from `start=FMN(steps=40)` it ended nearer in L2 and Linf on every network tried, and in L0 on
    two of three. For a first look DDN (L2) and DeepFool (L2, Linf) are cheaper; JSMA (L0) is much weaker.

    Attributes:
        steps: Adam steps of each search.
        searches: values of c to try a row; Linf and L0 spend `searches * steps` steps as their rows need them.
        step_size: of Adam, in tanh space; None means 0.01 for L2, 0.05 for Linf and 0.3 for L0.
        first_constant: the first c; with `start`, c is read off the start instead.
        confidence: by how much the goal must win, in the model's own logits.
        objective: f1 to f7 of the paper. f6 is the hinge on the margin; f2 to f4 are the paper's weak ones.
        abort_early: L2: a row ends a search when its loss has stopped falling.
        start: an attack whose result the search starts from, or None for the clean input. One that knows another norm
            only, as DDN, is played as it is, and the search goes on from the best of its candidates by the threat's norm.
        decay: Linf: the next tau over the largest change that still won.
        freeze: L0: share of the free pixels to freeze at a time; None for one by one, the paper's way.

    Deviations: f1 and f5 are used in their corrected form (as printed, f1 has the wrong sign and f5 no real value). c keeps
    its meaning at any scale of the logits, because the game scales them. Each search continues from the last point of the
    one before it instead of from the start. Abortion is by row, not by batch. Linf: the model sees the change clipped to
    tau, since some pixel always overshoots it a little under Adam; a row that is stuck gets a larger c and then a larger
    tau. L0: a row that is stuck goes back to its last win, and freezes half as many.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, L0, Linf)
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
    step_size: StepSize | None = None
    first_constant: StepSize = 1e-3
    confidence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    objective: Objective = "f6"
    abort_early: bool = True
    start: Attack | None = DDN(steps=40)
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9
    freeze: Share | None = 0.3

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        first = self.start.passes(features, classes) if self.start else (0, 0)
        steps = self.searches * self.steps
        return first[0] + steps + 1, first[1] + steps + 1

    def run(self, game: Game) -> Iterator[Rows]:
        game.insist(self.confidence)
        if self.start is not None:
            known = isinstance(game.threat, self.start.threats)
            yield from game.stage(self.start) if known else self.start.run(game)
        if isinstance(game.threat, Linf):
            yield from shrink(self, game)
        elif isinstance(game.threat, L0):
            yield from eliminate(self, game)
        else:
            yield from self.search(game)

    def search(self, game: Game) -> Iterator[Rows]:
        """The attack in L2: Adam for one c after the other."""
        box = TanhBox(*game.model.bounds)
        image, inverse = box.image, box.inverse
        w = inverse(game.best)
        constant = torch.full_like(w.flatten(1)[:, 0], self.first_constant)
        lost = (
            linf(game.best - game.x) == 0 if self.start else constant < 0
        )  # the start has left these at x: they have farther to go
        rows = Rows(
            w=w,
            origin=inverse(game.x),
            constant=constant,
            lower=torch.zeros_like(constant),
            upper=constant + torch.inf,
            pace=torch.where(lost, HURRY, 1.0) * (self.step_size or 0.01),
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
                value = unhinged(self, game, logits)
                bad = value.relu() if self.objective in HINGED else value
                distance = (image(w) - image(rows.origin)).flatten(1).square().sum(1)
                if search == 0 and k == 1 and self.start is not None:
                    rows.constant = self.stationary(game, value, delta, distance)
                loss = distance + rows.constant * bad
                gradient = game.gradient(loss, w)
                rows.won = rows.won | won(self, game, logits) & rows.active
                step = adam(rows, gradient, k, expand_as(rows.pace, w))
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

    def stationary(self, game: Game, value: Tensor, delta: Tensor, distance: Tensor) -> Tensor:
        """The c at which the pull toward x and the push over the boundary balance: 2 |delta| / |gradient of f|.

        Where the start found nothing, the c that would just cross the boundary if f were linear: 2 f / |gradient of f|^2.
        """
        slope = game.gradient(value, delta, retain=True).flatten(1).norm(dim=1)
        far = distance.detach().sqrt()
        balance = 2 * torch.where(far > 0, far, value.detach() / slope) / slope
        return torch.where(slope > 0, balance, self.first_constant).clamp_min(SMALLEST)
