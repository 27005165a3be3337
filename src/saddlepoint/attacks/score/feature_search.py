"""Greedy search, feature by feature."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as


@record
class FeatureSearch(Attack):
    """Change one feature at a time, to what lowers the goal's margin most among some random values.

    For tables, and for models of steps as forests are: it knows nothing of a threat but how to draw from it and how to
    project onto it, so it keeps whatever rules that has. Square is far better on images, where features are many.

    Attributes:
        steps: rounds.
        population: candidates of a round, one query each.

    Deviations: the paper expands every single change there is and divides the gain by the cost, because its attacker
    pays for each; here the budget is given, so the gain alone counts, and a sample of the changes is tried. Half of the
    candidates take one or two features from a random point of the set; the other half push one as far as it goes. Equal
    margins are accepted, to cross plateaus.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    slack: ClassVar = 3.0
    paper: ClassVar = Paper(
        key="kireev2023adversarial",
        title="Adversarial Robustness for Tabular Data through Cost and Utility Awareness",
        authors="Kireev, Klim and Kulynych, Bogdan and Troncoso, Carmela",
        year=2023,
        venue="Network and Distributed System Security Symposium",
        arxiv="2208.13058",
    )
    steps: Count = 100
    population: Count = 10

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * self.population + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(at=game.start(random=False), lowest=game.goal.margin(game.clean_logits))
        for _ in range(self.steps):
            tried = self.candidates(game, rows.at)
            margins = game.margin(tried, population=True).nan_to_num(nan=torch.inf)
            lowest, which = margins.min(dim=1)
            better = lowest <= rows.lowest
            rows.at = torch.where(expand_as(better, rows.at), tried[torch.arange(len(which)), which], rows.at)
            rows.lowest = torch.where(better, lowest, rows.lowest)
            rows = yield rows

    def candidates(self, game: Game, at: Tensor) -> Tensor:
        """(b, population, *theta) the current point with a feature or two changed, projected."""
        m = self.population
        at = at[:, None].expand(-1, m, *at.shape[1:])
        drawn = torch.stack([game.start(random=True) for _ in range(m)], dim=1)
        pick = game.noise.uniform(*at.shape[1:]).to(at.device)
        pick = torch.where(drawn != at, pick, pick - 1).flatten(2)  # of those that the draw would change
        most = pick.topk(min(2, pick.shape[2]), dim=2).values
        number = torch.arange(m, device=at.device)
        chosen = pick >= torch.where(number[:, None] % 4 == 2, most[..., -1:], most[..., :1])
        low, high = game.model.bounds
        far = torch.where(drawn < at, -2 * (high - low), 2 * (high - low)).to(at.dtype)
        odd = (number % 2 == 1).view(m, *(1,) * (at.dim() - 2))
        tried = torch.where(chosen.view_as(at), torch.where(odd, far, drawn), at)
        x = game.x[:, None].expand(-1, m, *game.x.shape[1:]).flatten(0, 1)
        return game.threat.project(x, tried.flatten(0, 1), game.model.bounds).unflatten(0, at.shape[:2])
