"""The same attack several times."""

from collections.abc import Iterator
from typing import ClassVar

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Goal
from saddlepoint.core.model import Access
from saddlepoint.core.threat import Threat


@record
class Restarts(Attack):
    """Play `attack` again, with new noise, on the rows it has not broken; the best of all runs counts, row by row.

    Attributes:
        attack: what to repeat; without randomness of its own it repeats itself.
        restarts: how often.
    """

    paper: ClassVar = PGD.paper
    attack: Attack = PGD()
    restarts: Count = 10

    @property
    def access(self) -> Access:  # type: ignore[override]  # known from the part, not from the class
        return self.attack.access

    @property
    def seeks(self) -> Seeks:  # type: ignore[override]
        return self.attack.seeks

    @property
    def threats(self) -> tuple[type[Threat], ...]:  # type: ignore[override]
        return self.attack.threats

    @property
    def goals(self) -> tuple[type[Goal], ...]:  # type: ignore[override]
        return self.attack.goals

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        forwards, backwards = self.attack.passes(features, classes)
        return forwards * self.restarts, backwards * self.restarts

    def run(self, game: Game) -> Iterator[Rows]:
        for _ in range(self.restarts):
            yield from game.stage(self.attack)
