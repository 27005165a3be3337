"""Sparse-RS."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.noise import Noise
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L0

SCHEDULE = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}
"""After that many of 10 000 queries -> what the first share is divided by."""


@record
class SparseRS(Attack):
    """Random search over k pixels, k being the radius of the L0 ball: move some of them and repaint them, keep what helps.

    It asks no more of a large image than of a small one, and can win where gradients, which know only small steps, do not.
    CornerSearch tries all pixels one by one, OnePixel evolves a population, LocalSearch is not told how many pixels it has.
    On other inputs than (c, h, w) images a pixel is a feature.

    Attributes:
        steps: candidates, one query each.
        first_share: share of the k pixels that is moved at first (the paper's initial alpha); it falls as in the paper.
        rescale: squeeze that schedule, made for 10 000 queries, into `steps`.

    Deviations: every row draws its own pixels (the authors' code shares the draw in a batch). The margin is pursued under
    all goals, where the authors' code takes the cross entropy under a targeted one. A pixel painted in its own color, as
    every second one of a black and white image, takes the opposite color, so that no change is wasted.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (L0,)
    slack: ClassVar = 2.0
    paper: ClassVar = Paper(
        key="croce2022sparse",
        title="Sparse-RS: a Versatile Framework for Query-Efficient Sparse Black-Box Adversarial Attacks",
        authors="Croce, Francesco and Andriushchenko, Maksym and Singh, Naman D. and Flammarion, Nicolas and Hein, Matthias",
        year=2022,
        venue="AAAI Conference on Artificial Intelligence",
        arxiv="2006.12834",
    )
    steps: Count = 5000
    first_share: Share = 0.3
    rescale: bool = True

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, 0

    def run(self, game: Game) -> Iterator[Rows]:
        c, h, w = as_image(game.x)
        k = int(min(game.threat.reach, h * w))
        if not k:
            return
        clean = game.x.reshape(-1, c, h * w)
        places = game.noise.uniform(h * w, dtype=torch.float64).argsort(dim=1)  # the first k are painted
        at = clean.scatter(2, spread(places[:, :k], c), colors(game, clean, places[:, :k]))
        rows = Rows(at=at, inside=places[:, :k], outside=places[:, k:], lowest=game.margin(at, apply=image))
        for step in range(1, self.steps + 1):
            rows = yield rows
            clean = game.x.reshape(-1, c, h * w)
            moved = max(1, int(self.share(step * 10_000 // self.steps if self.rescale else step) * k))
            inside = to_front(game.noise, rows.inside, moved)
            rows.outside = to_front(game.noise, rows.outside, min(moved, h * w - k))
            swapped = min(moved, h * w - k)
            left, taken = inside[:, :swapped], torch.cat([rows.outside[:, :swapped], inside[:, swapped:moved]], dim=1)
            at = rows.at.scatter(2, spread(left, c), clean.gather(2, spread(left, c)))
            at = at.scatter(2, spread(taken, c), colors(game, clean, taken))
            margin = game.margin(at, apply=image)
            better = margin < rows.lowest
            rows.lowest = torch.where(better, margin, rows.lowest)
            rows.at = torch.where(expand_as(better, at), at, rows.at)
            rows.inside = torch.where(better[:, None], torch.cat([taken, inside[:, moved:]], dim=1), inside)
            outside = torch.cat([left, rows.outside[:, swapped:]], dim=1)
            rows.outside = torch.where(better[:, None], outside, rows.outside)

    def share(self, query: int) -> float:
        """Share of the pixels to move at a query of 10 000."""
        return self.first_share / max([by for after, by in SCHEDULE.items() if query > after], default=1)


def image(x: Tensor, at: Tensor) -> Tensor:
    """Pixels (b, c, n) in the shape of the input: the input itself, not a change of it, whose sum would be rounded."""
    return at.view_as(x)


def spread(places: Tensor, c: int) -> Tensor:
    """(b, c, n) indices into all channels of the pixels at (b, n)."""
    return places[:, None].expand(-1, c, -1)


def colors(game: Game, clean: Tensor, places: Tensor) -> Tensor:
    """(b, c, n) random corners of the color cube, none of them the clean pixel's own color."""
    low, high = game.model.bounds
    c = clean.shape[1]
    drawn = torch.where(game.noise.uniform(c, places.shape[1]) < 0.5, low, high).to(clean.dtype)
    same = (drawn == clean.gather(2, spread(places, c))).all(dim=1, keepdim=True)
    return torch.where(same, low + high - drawn, drawn)


def to_front(noise: Noise, members: Tensor, m: int) -> Tensor:
    """(b, n) the same members, m random ones of them first: the beginning of a Fisher-Yates shuffle."""
    for i in range(m):
        other = i + noise.integers(members.shape[1] - i, 1)
        pair = torch.cat([torch.full_like(other, i), other], dim=1)
        members = members.scatter(1, pair.flip(1), members.gather(1, pair))
    return members
