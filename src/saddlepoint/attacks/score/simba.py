"""Simple black-box attack."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.attacks.score.estimate import choose
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image, cosines
from saddlepoint.threats import L2, Linf


@record
class SimBA(Attack):
    """Try the directions of an orthonormal basis in random order, one way and then the other, and keep what helps.

    A few lines, and a fair baseline for small L2 changes; Square needs fewer queries. With `basis="dct"` the directions are
    cosine waves, low frequencies first, which suits networks for large natural images; pixels suit small ones.

    Attributes:
        steps: queries; a direction costs one if its first sign helps, else two.
        step_size: along a direction, in input units; None means 0.2 in an L2 ball and the radius in an Linf ball.
        basis: "pixels" or "dct".
        frequencies: "dct": share of the frequencies along each axis to try first, in random order; then follows the next
            band as wide, and so on.

    Deviations: the paper has no radius; here the walk itself is left as it is, and what the model sees is its projection
    onto the ball and the box. The log-odds decide, which order candidates as the paper's probability does and do not
    saturate. When all directions have been tried they are tried again in the same order.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (L2, Linf)
    slack: ClassVar = 2.0
    paper: ClassVar = Paper(
        key="guo2019simple",
        title="Simple Black-box Adversarial Attacks",
        authors="Guo, Chuan and Gardner, Jacob R. and You, Yurong and Wilson, Andrew Gordon and Weinberger, Kilian Q.",
        year=2019,
        venue="International Conference on Machine Learning",
        arxiv="1905.07121",
    )
    steps: Count = 5000
    step_size: StepSize | None = None
    basis: Literal["pixels", "dct"] = "pixels"
    frequencies: Share = 1 / 8

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        step_size = self.step_size or (0.2 if isinstance(game.threat, L2) else game.threat.reach)
        first = torch.zeros(len(game.x), dtype=torch.long, device=game.x.device)
        rows = Rows(
            walk=torch.zeros_like(game.x),
            lowest=game.goal.cross_entropy(game.clean_logits),
            order=self.order(game)[:, : self.steps],
            tried=first,
            sign=torch.ones_like(game.x.flatten(1)[:, 0]),
        )
        for _ in range(self.steps):
            number = rows.order.gather(1, (rows.tried % rows.order.shape[1])[:, None])
            there = rows.walk + self.direction(game, number, step_size * rows.sign)
            loss = game.cross_entropy(game.project(there))
            better = loss < rows.lowest
            rows.lowest = torch.where(better, loss, rows.lowest)
            rows.walk = choose(better, there, rows.walk)
            done = better | (rows.sign < 0)
            rows.tried = rows.tried + done
            rows.sign = torch.where(done, 1, -rows.sign)
            rows = yield rows

    def order(self, game: Game) -> Tensor:
        """(b, d) numbers of the directions in the order of trying them."""
        c, h, w = as_image(game.x)
        key = game.noise.uniform(c * h * w, dtype=torch.float64)
        if self.basis == "dct":
            down, across = (torch.arange(n, device=key.device) / math.ceil(self.frequencies * n) for n in (h, w))
            key = key + torch.maximum(down.floor()[:, None], across.floor()).flatten().repeat(c)
        return key.argsort(dim=1)

    def direction(self, game: Game, number: Tensor, length: Tensor) -> Tensor:
        """The directions of these numbers (b, 1), of that length (b,)."""
        c, h, w = as_image(game.x)
        if self.basis == "pixels":
            return torch.zeros_like(game.x).flatten(1).scatter(1, number, length[:, None]).view_as(game.x)
        number = number.squeeze(1)
        channel, row, column = number // (h * w), number // w % h, number % w
        down, across = (cosines(n, 1.0, game.x).to(game.x.dtype) for n in (h, w))
        wave = down[row][:, :, None] * across[column][:, None, :] * length[:, None, None]
        canvas = game.x.new_zeros(len(wave), c, h, w)
        return canvas.scatter(1, channel[:, None, None, None].expand(-1, 1, h, w), wave[:, None]).view_as(game.x)
