"""Pointwise attack."""

from collections.abc import Generator, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.noise import amounts, salted
from saddlepoint.attacks.decision.walk import any_wins, draw, wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, pixels
from saddlepoint.threats import L0, L1

SHARES = 16  # of pixels painted in the start


@record
class Pointwise(Attack):
    """Paint random pixels until the answer changes, and undo all of it that is not needed, from answers alone.

    No pixel of the result can be restored alone, which is not to say that it has the fewest: attacks with gradients, as
    SigmaZero, need far fewer. For L1, the values that remain are then moved back toward the input one by one.

    Attributes:
        steps: queries of each restart to undo pixels, at most.
        restarts: how often to begin again with other noise.
        halvings: bisections of each value that remains, for L1.
        attempts: draws of noise to find a start among; the argument `starts` of `attack` comes before them.

    Deviations: pixels are undone in blocks, first of half of them, then of a quarter, and so on, before one by one. A
    restart begins with the least noise that wins of the first draw that does, or with gray noise if that alone does.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    threats: ClassVar = (L0, L1)
    slack: ClassVar = 4.0
    paper: ClassVar = Paper(
        key="schott2019towards",
        title="Towards the First Adversarially Robust Neural Network Model on MNIST",
        authors="Schott, Lukas and Rauber, Jonas and Bethge, Matthias and Brendel, Wieland",
        year=2019,
        venue="International Conference on Learning Representations",
        arxiv="1805.09190",
    )
    steps: Count = 5000
    restarts: Count = 15
    halvings: Count = 8
    attempts: Count = 20

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.restarts * (self.attempts * SHARES + self.steps + features * self.halvings), 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(point=game.x)
        for restart in range(self.restarts):
            rows.point, rows.found = game.x, torch.zeros(len(game.x), dtype=torch.bool, device=game.x.device)
            for i in range(self.attempts):
                start(game, rows, restart * self.attempts + i)
                rows = yield rows
                if rows.found.all():
                    break
            order = game.noise.fork(f"order {restart}").uniform(view(game, game.x).shape[2])
            rows.order = order.argsort(dim=1)
            rows.place = rows.order.argsort(dim=1)
            rows = yield from self.undo(game, rows)
            if isinstance(game.threat, L1):
                rows = yield from self.shrink(game, rows)

    def undo(self, game: Game, rows: Rows) -> Generator[Rows, Rows, Rows]:
        """Restore blocks of pixels, smaller and smaller, until none can be restored alone."""
        kept = torch.zeros_like(rows.order[:, 0])
        rows.kept, rows.size = kept, (changed(game, rows).sum(1) + 1) // 2
        rows.gained, rows.over = kept > 0, ~rows.found
        for _ in range(self.steps):
            rank = ranks(game, rows)
            block = (rank > rows.kept[:, None]) & (rank <= (rows.kept + rows.size)[:, None])
            trial = torch.where(block[:, None], view(game, game.x), view(game, rows.point)).view_as(game.x)
            won = wins(game, trial, where=~rows.over) & ~rows.over
            rows.point = torch.where(expand_as(won, trial), trial, rows.point)
            rows.gained, rows.kept = rows.gained | won, rows.kept + torch.where(won, 0, rows.size)
            through = rows.kept >= changed(game, rows).sum(1)
            rows.over = rows.over | (through & (rows.size == 1) & ~rows.gained)
            rows.size = torch.where(through, (rows.size + 1) // 2, rows.size)
            rows.kept, rows.gained = torch.where(through, 0, rows.kept), rows.gained & ~through
            rows = yield rows
            if rows.over.all():
                break
        return rows

    def shrink(self, game: Game, rows: Rows) -> Generator[Rows, Rows, Rows]:
        """Move the changed features toward the input, one after the other, as far as that goes alone."""
        for n in range(1, game.x[0].numel() + 1):
            one = (ranks(game, rows) == n).view_as(game.x)
            where = one.flatten(1).any(1) & rows.found
            if not where.any():
                break
            low, high = torch.zeros_like(game.x.flatten(1)[:, 0]), torch.ones_like(game.x.flatten(1)[:, 0])
            for _ in range(self.halvings):
                middle = (low + high) / 2
                won = wins(game, torch.where(one, part_of(game, rows.point, middle), rows.point), where=where)
                high, low = torch.where(won, middle, high), torch.where(won, low, middle)
            rows.point = torch.where(one, part_of(game, rows.point, high), rows.point)
            rows = yield rows
        return rows


def start(game: Game, rows: Rows, i: int) -> None:
    """Paint the rows that have no start yet: the smallest share that wins, or else what other attacks walk in from."""
    shares = amounts(torch.ones_like(game.x.flatten(1)[:, 0]), SHARES)
    points = salted(game, shares, game.noise.fork(f"salt {i}"))
    given = i == 0 and game.starts is not None
    points[:, 0 if given else -1] = draw(game, i)
    won = any_wins(game, points, where=~rows.found) & ~rows.found[:, None]
    first = torch.where(won, shares, torch.inf).argmin(1)
    now = won.any(1)
    rows.point = torch.where(expand_as(now, game.x), points[torch.arange(len(points)), first], rows.point)
    rows.found = rows.found | now


def view(game: Game, points: Tensor) -> Tensor:
    """What counts as one change, on the last axis: pixels with all their channels for L0, features for L1."""
    return pixels(points) if isinstance(game.threat, L0) else points.flatten(1)[:, None]


def changed(game: Game, rows: Rows) -> Tensor:
    """(b, pixels) those that differ from the input."""
    return (view(game, rows.point) != view(game, game.x)).any(1)


def ranks(game: Game, rows: Rows) -> Tensor:
    """(b, pixels) numbers of the changed pixels, from 1, in the random order of the row; 0 for the others."""
    differs = changed(game, rows)
    return differs.gather(1, rows.order).cumsum(1).gather(1, rows.place) * differs


def part_of(game: Game, point: Tensor, share: Tensor) -> Tensor:
    """That share of the way from the input to the point."""
    return game.x + expand_as(share, point) * (point - game.x)
