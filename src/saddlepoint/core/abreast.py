"""Several searches of an attack side by side, where few rows are left: the results are those of one after the other.

A pass of ten rows costs nearly as much as one of thirty. So the nine targets of an attack are not searched in turn for the
last ten rows, but at once, in nine lanes a row. What a lane finds counts as if the lanes before it had gone first.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from saddlepoint.core.attack import Rows
from saddlepoint.core.table import BEST

if TYPE_CHECKING:
    from saddlepoint.core.game import Game

FULL = 128  # rows: on a CPU fuller passes cost no less a row, and beyond the cache more
SUMS = ("queries", "gradients", "blank")
ALARMS = ("won", "crossed", "spent", "nonfinite")


class Lanes:
    """Which row of the game, and which of its searches, every row of a spread table is; the lanes of a row are neighbors.

    Attributes:
        owner: (b * m,) place of the row among those that were in play.
        turn: (b * m,) number of the search.
    """

    def __init__(self, rows: int, first: int, count: int, device: torch.device) -> None:
        self.count = count
        self.owner = torch.arange(rows, device=device).repeat_interleave(count)
        self.turn = first + torch.arange(count, device=device).repeat(rows)

    def counting(self, won: Bool[Tensor, " bm"]) -> Bool[Tensor, " bm"]:
        """Lanes that one search after the other would have come to: up to the row's first that won."""
        never = int(self.turn.max()) + 1 if len(self.turn) else 0
        first = self.turn.masked_fill(~won, never).view(-1, self.count).amin(1)
        return self.turn <= first[self.owner]


class Abreast:
    """The game's table, spread over lanes for as long as this context lasts."""

    TABLE = ("all", "index", "live", "goal", "verdict", "noise", "lanes")

    def __init__(self, game: "Game", first: int, count: int) -> None:
        self.game, self.first, self.count = game, first, count

    def __enter__(self) -> None:
        game = self.game
        self.before = {name: getattr(game, name) for name in self.TABLE}
        lanes = game.lanes = Lanes(len(game.index), self.first, self.count, game.x.device)
        game.all = game.live = game.live.select(lanes.owner)
        game.index = torch.arange(len(lanes.owner), device=game.x.device)
        same, game.verdict = game.goal is game.verdict, game.verdict.select(lanes.owner)
        game.goal = game.verdict if same else game.goal.select(lanes.owner)
        game.noise = game.noise.select(lanes.owner).lane(lanes.turn)

    def __exit__(self, *_: object) -> None:
        self.game.write_back()
        game, lanes, spread = self.game, self.game.lanes, self.game.all
        assert lanes is not None
        for name, value in self.before.items():
            setattr(game, name, value)
        counts = lanes.counting(spread.won) if game.leaves_when_won else torch.ones_like(spread.won)
        self.gather(game.live, spread, counts.view(-1, self.count))

    def gather(self, rows: Rows, spread: Rows, counts: Bool[Tensor, "b m"]) -> None:
        """What the lanes that count found and asked, on the rows."""

        def by_row(name: str) -> Tensor:
            column: Tensor = getattr(spread, name)
            return column.view(-1, self.count)

        best = self.chosen(by_row("key").masked_fill(~counts, torch.inf), by_row("won") & counts)
        place = torch.arange(len(best), device=best.device) * self.count + best
        for name in BEST:
            if getattr(rows, name) is not None:
                setattr(rows, name, getattr(spread, name)[place])
        for name in ALARMS:
            setattr(rows, name, (by_row(name) & counts).any(1))
        for name in SUMS:
            before = getattr(rows, name)
            setattr(rows, name, before + ((by_row(name) - before[:, None]) * counts).sum(1))

    def chosen(self, key: Tensor, won: Bool[Tensor, "b m"]) -> Int[Tensor, " b"]:
        """The first lane that won where that ends the search, else the one that came nearest."""
        nearest = key.argmin(1)
        return torch.where(won.any(1), won.int().argmax(1), nearest) if self.game.leaves_when_won else nearest
