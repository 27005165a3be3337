"""Draws from the set, without any thought."""

from collections.abc import Iterator
from typing import ClassVar

import torch

from saddlepoint.attacks.decision.grid_search import SPATIAL
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access


@record
class RandomSearch(Attack):
    """Try points drawn uniformly from the set: for a few parameters "worst of k", in a ball the noise baseline.

    An attack that cannot beat it in a ball does not work; in a ball of many features it itself finds next to nothing.

    Attributes:
        candidates: how many points to try; ten is the paper's worst-of-10.
        population: of these, how many to put to the model at once.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.BUDGET
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 4.0
    paper: ClassVar = SPATIAL
    candidates: Count = 100
    population: Count = 10

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.candidates + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        for done in range(0, self.candidates, self.population):
            some = [game.start(random=True) for _ in range(min(self.population, self.candidates - done))]
            game.wins(torch.stack(some, dim=1), population=True)
            yield Rows()
