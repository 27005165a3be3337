"""Noise, and no more of it than it takes."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.decision.walk import any_wins
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.noise import Noise
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, pixels
from saddlepoint.threats import L0, L1, L2, Linf

FOOLBOX = Paper(
    key="rauber2017foolbox",
    title="Foolbox: A Python Toolbox to Benchmark the Robustness of Machine Learning Models",
    authors="Rauber, Jonas and Brendel, Wieland and Bethge, Matthias",
    year=2017,
    venue="Reliable Machine Learning in the Wild Workshop, International Conference on Machine Learning",
    arxiv="1707.04131",
)


class _LeastNoise(Attack):
    """Draw noise again and again, and try each draw in several amounts, none above the least that has won."""

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    paper: ClassVar = FOOLBOX
    steps: Count
    candidates: Count

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * self.candidates, 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(share=torch.ones_like(game.x.flatten(1)[:, 0]))
        for _ in range(self.steps):
            shares = amounts(rows.share, self.candidates)
            won = any_wins(game, self.noisy(game, shares))
            rows.share = torch.where(won, shares, torch.inf).amin(1).minimum(rows.share)
            rows = yield rows

    @abstractmethod
    def noisy(self, game: Game, shares: Tensor) -> Tensor:
        """(b, m, *shape) inputs with these shares (b, m) of noise, the same draw in all of a row."""


@record
class SaltAndPepper(_LeastNoise):
    """Paint random pixels black or white, ever fewer of them.

    A baseline that every search must beat; where it finds small changes, the model has not even learned to ignore noise.
    Pointwise goes on from such a change.

    Attributes:
        steps: draws of noise.
        candidates: shares of the pixels to paint in each draw, evenly spaced up to the least share that has won.

    Deviations: foolbox draws for one share at a time, and raises it slowly from zero.
    """

    threats: ClassVar = (L0, L1, L2)
    slack: ClassVar = 8.0
    steps: Count = 250
    candidates: Count = 4

    def noisy(self, game: Game, shares: Tensor) -> Tensor:
        return salted(game, shares, game.noise)


@record
class BlendedNoise(_LeastNoise):
    """Blend the input with uniform noise, ever less of it.

    A baseline that every search must beat, and what decision-based attacks start from. For noise within a given radius use
    RandomSearch.

    Attributes:
        steps: draws of noise.
        candidates: blends of each draw, evenly spaced up to the least share of noise that has won.

    Deviations: foolbox keeps the first noise that wins, and tries a thousand blends of it.
    """

    threats: ClassVar = (Linf, L2, L1)
    slack: ClassVar = 8.0
    steps: Count = 100
    candidates: Count = 10

    def noisy(self, game: Game, shares: Tensor) -> Tensor:
        low, high = game.model.bounds
        noise = game.noise.uniform(*game.x.shape[1:], dtype=game.x.dtype) * (high - low) + low
        return game.x[:, None] + expand_as(shares, game.x[:, None]) * (noise - game.x)[:, None]


def amounts(most: Tensor, count: int) -> Tensor:
    """(b, count) numbers, evenly spaced up to `most`."""
    return most[:, None] * torch.arange(1, count + 1, dtype=most.dtype, device=most.device) / count


def salted(game: Game, shares: Tensor, noise: Noise) -> Tensor:
    """(b, m, *shape) inputs with these shares (b, m) of the pixels black or white: ever more of the same."""
    low, high = game.model.bounds
    x = pixels(game.x)
    order, color = noise.uniform(2, x.shape[2], dtype=x.dtype).unbind(1)
    painted = torch.where(color < 0.5, low, high).to(x.dtype)[:, None, None]
    hit = order[:, None] < shares[:, :, None]
    return torch.where(hit[:, :, None], painted, x[:, None]).view(*shares.shape, *game.x.shape[1:])
