"""Exhaustive search over a few parameters."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import field_validator

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import Parametric

SPATIAL = Paper(
    key="engstrom2019exploring",
    title="Exploring the Landscape of Spatial Robustness",
    authors="Engstrom, Logan and Tran, Brandon and Tsipras, Dimitris and Schmidt, Ludwig and Madry, Aleksander",
    year=2019,
    venue="International Conference on Machine Learning",
    arxiv="1712.02779",
)


@record
class GridSearch(Attack):
    """Try every point of a grid over the parameters, the most extreme first.

    For threats of few parameters, as rotation and translation, the strongest search there is: the paper found first-order
    search far weaker. For more than a handful use RandomSearch.

    Attributes:
        points: number of values of each parameter, evenly spaced over its limits; one number a parameter.

    Deviations: the paper keeps the candidate of the highest loss among those that win; here a row leaves at its first win,
    so that labels are all the attack needs to see.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Parametric,)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 1.0001
    paper: ClassVar = SPATIAL
    points: tuple[Count, ...] = (31, 5, 5)

    @field_validator("points")
    @classmethod
    def _some(cls, points: tuple[int, ...]) -> tuple[int, ...]:
        if not points:
            raise ValueError("at least one number, one a parameter")
        return points

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return math.prod(self.points) + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        shape = game.start(random=False).shape[1:]
        if math.prod(shape) != len(self.points):
            raise InputError(
                f"{game.threat!r} has {math.prod(shape)} parameters and the grid {len(self.points)}. "
                "Give one number of points a parameter, or use RandomSearch."
            )
        axes = [torch.linspace(-1, 1, n, dtype=game.x.dtype) if n > 1 else game.x.new_zeros(1).cpu() for n in self.points]
        grid = torch.cartesian_prod(*axes).view(-1, len(axes)).to(game.x.device) * game.threat.reach
        grid = grid[grid.abs().sum(1).argsort(descending=True, stable=True)]
        grid, k = grid.view(-1, *shape), 0
        while k < len(grid):
            some = grid[k : k + game.room]
            game.ahead(some.expand(len(game.x), *some.shape))
            k += len(some)
            yield Rows()
