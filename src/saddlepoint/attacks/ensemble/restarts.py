"""The same attack several times."""

from collections.abc import Iterator
from typing import ClassVar

from saddlepoint.attacks.ensemble.wrapper import Wrapper
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack, Rows
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game


@record
class Restarts(Wrapper):
    """Play `attack` again, with new noise, on the rows it has not broken; the best of all runs counts, row by row.

    Attributes:
        attack: what to repeat; without randomness of its own it repeats itself.
        restarts: how often.
    """

    paper: ClassVar = PGD.paper
    attack: Attack = PGD()
    restarts: Count = 10

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        forwards, backwards = self.attack.passes(features, classes)
        return forwards * self.restarts, backwards * self.restarts

    def run(self, game: Game) -> Iterator[Rows]:
        for _ in range(self.restarts):
            yield from game.stage(self.attack)
