"""Bandits with priors."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.threats import L2, Linf


@record
class Bandits(Attack):
    """Learn the gradient online: carry an estimate at low resolution from step to step, correct it by two probes, follow it.

    Both priors of the paper: gradients of successive points are alike (time), and so are those of neighboring pixels
    (data). Between NES and Square in queries. On other inputs than (c, h, w) images neighbors are along the one axis.

    Attributes:
        steps: steps of two queries, and a third where a probe has won.
        cells: of the estimate along each axis, at most; a cell covers several pixels of a larger image.
        step_size: of the change, in input units; None means a fifth of the radius for Linf, a tenth for L2.
        learning_rate: of the estimate; None means 100 for Linf (exponentiated gradients), 0.1 for L2 (gradients).
        exploration: length of the random part of a probe, the estimate being of about unit length for L2 and of unit
            entries for Linf; None means 1 for Linf, 0.3 for L2.
        probe: how far away a probe is, as an L2 length in input units.

    Deviations: the loss is the log-odds, which is steeper than the authors' cross entropy where the model is sure, so that
    for L2 the estimate soon has unit length; to go on learning it explores farther than theirs (0.01, with probes of 0.01).
    Probes are clipped to the bounds. The code of the authors looks at every step for free whether it has won; here that is
    a query, spent only where one of the two probes around the last point won.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    slack: ClassVar = 1.5
    paper: ClassVar = Paper(
        key="ilyas2019prior",
        title="Prior Convictions: Black-Box Adversarial Attacks with Bandits and Priors",
        authors="Ilyas, Andrew and Engstrom, Logan and Madry, Aleksander",
        year=2019,
        venue="International Conference on Learning Representations",
        arxiv="1807.07978",
    )
    steps: Count = 5000
    cells: Count = 50
    step_size: StepSize | None = None
    learning_rate: StepSize | None = None
    exploration: StepSize | None = None
    probe: StepSize = 0.1

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 3 * self.steps + 2, 0

    def run(self, game: Game) -> Iterator[Rows]:
        flat = isinstance(game.threat, Linf)
        step_size = self.step_size or game.threat.reach / (5 if flat else 10)
        c, h, w = as_image(game.x)
        prior = game.x.new_zeros(len(game.x), c, min(self.cells, h), min(self.cells, w))
        rows = Rows(delta=game.start(random=False), prior=prior)
        for _ in range(self.steps):
            rows.prior, rows.near = self.learned(game, rows.delta, rows.prior, flat)
            rows = yield rows
            shown = prior_image(game, rows.prior.tanh() if flat else rows.prior)
            rows.delta = game.project(rows.delta + step_size * game.steepest(shown, rows.delta))
            if rows.near.any():
                game.margin(rows.delta, where=rows.near)
                rows = yield rows
        game.submit(rows.delta)

    def learned(self, game: Game, delta: Tensor, prior: Tensor, flat: bool) -> tuple[Tensor, Tensor]:
        """The prior after one more pair of probes, and where one of them won.

        For Linf the column holds the logits of the exponentiated gradient's weights: its value is their tanh.
        """
        exploration = self.exploration or (1.0 if flat else 0.3)
        rate = self.learning_rate or (100.0 if flat else 0.1)
        low, high = game.model.bounds
        value = prior.tanh() if flat else prior
        noise = exploration * game.noise.normal(*prior.shape[1:], dtype=prior.dtype) / prior.shape[1:].numel() ** 0.5
        ways = [prior_image(game, value + noise), prior_image(game, value - noise)]
        probes = torch.stack([(game.x + delta - self.probe * unit(q, l2(q))).clamp(low, high) - game.x for q in ways], dim=1)
        logits = game.logits(probes, population=True)
        loss = game.goal.cross_entropy(logits)
        slope = ((loss[:, 1] - loss[:, 0]) / (self.probe * exploration)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        return prior + rate * expand_as(slope, noise) * noise, (game.goal.margin(logits) < 0).any(dim=1)


def prior_image(game: Game, prior: Tensor) -> Tensor:
    """The prior (b, c, cells, cells) at the resolution of the input."""
    return interpolate(prior, size=as_image(game.x)[1:], mode="nearest").view_as(game.x)
