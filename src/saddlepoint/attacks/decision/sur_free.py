"""SurFree."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import begin, boundary, most_queries, wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image, cosines
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.threats import L2

FIRST = math.radians(30)  # the largest angle tried at the beginning
MOST = math.radians(80)
CHANGE = 0.95  # of the largest angle after a direction that failed, and by its inverse after one that won
PRECISION = 0.1  # of an angle, relative to it
HALVINGS = 7  # of the bracket around it, at most


@record
class SurFree(Attack):
    """Turn toward random directions along circles on which every point is nearer, without estimating any gradient.

    In a few hundred queries it gets closer than HopSkipJump, which spends them on its first gradient, and is overtaken by it
    in thousands.

    Attributes:
        steps: directions.
        angles: angles to try to each side of a direction.
        remembered: how many of the last directions a new one is orthogonal to, at most half as many as there are; each takes
            as much memory as an input.
        frequencies: directions are made of this share of the lowest frequencies along each axis of an image: small for large
            natural images.
        attempts: random inputs to try as a start; the argument `starts` of `attack` comes before them.

    Deviations: all low frequencies are equally likely, where the code of the authors can weight them by those of the image.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="maho2021surfree",
        title="SurFree: A Fast Surrogate-Free Black-Box Attack",
        authors="Maho, Thibault and Furon, Teddy and Le Merrer, Erwan",
        year=2021,
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="2011.12807",
    )
    steps: Count = 500
    angles: Count = 3
    remembered: Count = 100
    frequencies: Share = 0.5
    attempts: Count = 100

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return most_queries(self.attempts) + 10 + self.steps * (2 * self.angles + HALVINGS), 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = yield from begin(game, self.attempts)
        rows.point = boundary(game, rows.point, 1e-3, flat=False)
        rows.most = torch.full_like(rows.distance, FIRST)
        basis = [cosines(n, self.frequencies, game.x) for n in as_image(game.x)[1:]]
        directions = as_image(game.x)[0] * math.prod(len(b) for b in basis)
        rows.past = game.x[:, None].repeat(1, min(self.remembered, directions // 2), *(1,) * (game.x.dim() - 1)) * 0
        for t in range(self.steps):
            rows = yield rows
            rows.distance = l2(rows.point - game.x)
            out = unit(rows.point - game.x, rows.distance)
            side = sideways(game, rows.past, out, basis)
            if rows.past.shape[1]:
                rows.past[:, t % rows.past.shape[1]] = side
            self.turn(game, rows, out, side)

    def turn(self, game: Game, rows: Rows, out: Tensor, side: Tensor) -> None:
        """Try angles from the largest down, to both sides; where one wins, look between it and the next larger one."""
        low, high = game.model.bounds

        def at(angle: Tensor) -> Tensor:
            toward = expand_as(angle.cos(), out) * out + expand_as(angle.sin(), out) * side
            return (game.x + expand_as(rows.distance * angle.cos(), out) * toward).clamp(low, high)

        sign = torch.zeros_like(rows.most)
        inner = outer = rows.most
        for k in range(2 * self.angles):
            angle = rows.most * (1 - k // 2 / self.angles)
            side_of = 1 - 2 * (k % 2)
            won = wins(game, at(side_of * angle), where=sign == 0) & (sign == 0)
            inner = torch.where(won, angle, inner)
            outer = torch.where(won, angle + rows.most / self.angles if k > 1 else MOST, outer)
            sign = torch.where(won, side_of, sign)
        found = sign != 0
        for _ in range(HALVINGS):
            unsure = found & (outer - inner > PRECISION * inner)
            if not unsure.any():
                break
            angle = torch.minimum(2 * inner, (inner + outer) / 2)
            won = wins(game, at(sign * angle), where=unsure)
            inner, outer = torch.where(won, angle, inner), torch.where(unsure & ~won, angle, outer)
        rows.point = torch.where(expand_as(found, out), at(sign * inner), rows.point)
        rows.most = (rows.most * torch.where(found, 1 / CHANGE, CHANGE)).clamp_max(MOST)


def sideways(game: Game, past: Tensor, out: Tensor, basis: list[Tensor]) -> Tensor:
    """A random direction, orthogonal to the way out and to the last directions."""
    down, across = basis
    c = as_image(game.x)[0]
    draw = game.noise.normal(c, len(down), len(across), dtype=out.dtype).double()
    side = torch.einsum("ih,bcij,jw->bchw", down, draw, across).to(out.dtype).reshape(out.shape)
    for _ in range(2):  # once more, against rounding
        shared = (past * side[:, None]).flatten(2).sum(2)
        side = side - (expand_as(shared, past) * past).sum(1)
        side = side - expand_as((side * out).flatten(1).sum(1), side) * out
        side = unit(side, l2(side))
    return side
