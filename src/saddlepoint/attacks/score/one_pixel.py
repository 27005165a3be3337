"""One pixel attack."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.threats import L0


@record
class OnePixel(Attack):
    """Differential evolution over the places and colors of d pixels, d being the radius of the L0 ball.

    Every image of the batch evolves its own population, one query of all populations a generation. CornerSearch finds as
    much with far fewer queries. On inputs other than (c, h, w) images a pixel is a feature.

    Attributes:
        population: candidates a row.
        generations: rounds of offspring.
        weight: of the difference of two parents added to a third (F of differential evolution).

    Deviations: the fitness is the log-odds, which orders candidates as the paper's probability does and does not saturate;
    evolution stops at the first win instead of at a confidence of 90 % (targeted) or 5 %.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (L0,)
    slack: ClassVar = 3.0
    paper: ClassVar = Paper(
        key="su2019one",
        title="One Pixel Attack for Fooling Deep Neural Networks",
        authors="Su, Jiawei and Vargas, Danilo Vasconcellos and Sakurai, Kouichi",
        year=2019,
        venue="IEEE Transactions on Evolutionary Computation",
        arxiv="1710.08864",
    )
    population: Annotated[int, Field(ge=4)] = 400
    generations: Count = 100
    weight: StepSize = 0.5

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.population * (self.generations + 1) + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        c, h, w = as_image(game.x)
        low, high = game.model.bounds
        pixels = int(min(game.threat.reach, h * w))

        def fitness(genomes: Tensor) -> Tensor:
            return game.cross_entropy(genomes, population=True, apply=paint)

        def paint(x: Tensor, genome: Tensor) -> Tensor:
            """Set the pixels of a genome (b, d, 2 + c) one by one: where two fall together, the later stays."""
            canvas = x.reshape(len(x), c, h * w)
            place = genome[..., 0].floor() * w + genome[..., 1].floor()
            for i in range(pixels):
                canvas = canvas.scatter(2, place[:, i, None, None].long().expand(-1, c, 1), genome[:, i, 2:, None])
            return canvas.view_as(x)

        def legal(genomes: Tensor) -> Tensor:
            y, x = genomes[..., 0].clamp(0, h - 0.001), genomes[..., 1].clamp(0, w - 0.001)
            return torch.cat([torch.stack([y, x], dim=-1), genomes[..., 2:].clamp(low, high)], dim=-1)

        place = game.noise.uniform(self.population, pixels, 2, dtype=game.x.dtype) * game.x.new_tensor([h, w])
        color = (low + high) / 2 + (high - low) / 2 * game.noise.normal(self.population, pixels, c, dtype=game.x.dtype)
        genomes = legal(torch.cat([place, color], dim=-1))
        rows = Rows(genomes=genomes, fitness=fitness(genomes))
        for _ in range(self.generations if pixels else 0):
            rows = yield rows
            one, two, three = (index[:, :, None, None].expand_as(rows.genomes) for index in self.parents(game))
            difference = rows.genomes.gather(1, two) - rows.genomes.gather(1, three)
            children = legal(rows.genomes.gather(1, one) + self.weight * difference)
            grown = fitness(children)
            better = grown < rows.fitness
            rows.fitness = torch.where(better, grown, rows.fitness)
            rows.genomes = torch.where(better[:, :, None, None], children, rows.genomes)

    def parents(self, game: Game) -> tuple[Tensor, Tensor, Tensor]:
        """Three different members (b, population) for each child."""
        p = self.population
        one = game.noise.integers(p, p)
        two = (one + 1 + game.noise.integers(p - 1, p)) % p
        three = game.noise.integers(p - 2, p)
        first, second = torch.minimum(one, two), torch.maximum(one, two)
        three = three + (three >= first).long()
        return one, two, three + (three >= second).long()
