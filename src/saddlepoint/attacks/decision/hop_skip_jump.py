"""HopSkipJump."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.norms import expand_as, l2, unit
from saddlepoint.threats import L2, Linf

NUMBERS_AT_ONCE = 1 << 17  # random numbers a row and query, so that memory does not grow with `most_evaluations`
HALVINGS = 15
START_FROM_BEST_OF = 4


@record
class HopSkipJump(Attack):
    """Walk along the decision boundary, estimating its normal from answers alone.

    For when only the answer is known. It needs a point that reaches the goal: random inputs do for an untargeted goal, the
    argument `starts` of `attack` gives images of the target class for a targeted one. A row without one ends as NOT_FOUND
    and holds nobody up.

    Attributes:
        steps: gradient estimates.
        first_evaluations: queries of the first estimate; the t-th takes sqrt(t) times as many.
        most_evaluations: at most so many a step.
        gamma: width of the boundary search, in units of d^-1.5 (L2) or d^-2 (Linf) of the distance, d features.
        attempts: random inputs to try as a start, of gray and of black and white noise.

    Deviations: of the first four random inputs that win, the walk begins at the nearest. The search for a step length gives
    up after 15 halvings, where the code of the authors may loop forever.
    """

    access: ClassVar = Access.LABELS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2, Linf)
    slack: ClassVar = 1.25
    paper: ClassVar = Paper(
        key="chen2020hopskipjumpattack",
        title="HopSkipJumpAttack: A Query-Efficient Decision-Based Attack",
        authors="Chen, Jianbo and Jordan, Michael I. and Wainwright, Martin J.",
        year=2020,
        venue="IEEE Symposium on Security and Privacy",
        arxiv="1904.02144",
    )
    steps: Count = 40
    first_evaluations: Count = 100
    most_evaluations: Count = 10_000
    gamma: StepSize = 1.0
    attempts: Count = 100

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        searches = 10 + math.ceil(2 * math.log2(features)) * (self.steps + 1)
        estimates = sum(self.evaluations(t) for t in range(1, self.steps + 1))
        return 11 * self.attempts + searches + estimates + HALVINGS * self.steps, 0

    def evaluations(self, t: int) -> int:
        """Queries of the t-th estimate."""
        return int(min(self.first_evaluations * math.sqrt(t), self.most_evaluations))

    def draw(self, game: Game, i: int) -> Tensor:
        """The i-th random start in [0, 1]: gray noise, and in turn noise of black and white, fewer and fewer white."""
        noise = game.noise.fork(f"start {i}").uniform(*game.x.shape[1:], dtype=game.x.dtype)
        return noise if i % 2 == 0 else (noise < 0.5 / (1 + i // 2 % 8)).to(noise.dtype)

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        features = game.x[0].numel()
        flat = isinstance(game.threat, Linf)
        threshold = self.gamma / features ** (2 if flat else 1.5)
        rows = Rows(point=game.x, distance=torch.full_like(game.x.flatten(1)[:, 0], torch.inf))
        for i in range(self.attempts):
            given = game.starts if i == 0 else None
            draw = self.draw(game, i) * (high - low) + low if given is None else given
            wanted = rows.distance.isinf() | torch.tensor(i < START_FROM_BEST_OF, device=draw.device)
            now = wins(game, draw, where=wanted) & wanted
            draw = boundary(game, draw, 1e-3, flat=False, where=now)
            distance = torch.where(now, game.threat.size(game.x, draw), torch.inf)
            nearer = distance < rows.distance
            rows.point = torch.where(expand_as(nearer, draw), draw, rows.point)
            rows.distance = torch.where(nearer, distance, rows.distance)
            rows = yield rows
            if i + 1 >= START_FROM_BEST_OF and rows.distance.isfinite().all():
                break
        game.retire(rows.distance.isinf())
        rows = yield rows
        rows.point = boundary(game, rows.point, threshold, flat)
        for t in range(1, self.steps + 1):
            rows = yield rows
            reach = 0.1 * (high - low) if t == 1 else threshold * rows.distance * (features if flat else math.sqrt(features))
            radius = torch.as_tensor(reach, dtype=game.x.dtype, device=game.x.device).expand(len(game.x))
            rows.normal = normal(game, rows.point, radius, self.evaluations(t), flat)
            rows = yield rows
            rows.distance = game.threat.size(game.x, rows.point)
            direction = rows.normal.sign() if flat else rows.normal
            rows.point = hop(game, rows.point, direction, rows.distance / math.sqrt(t))
            rows = yield rows
            rows.distance = game.threat.size(game.x, rows.point)
            rows.point = boundary(game, rows.point, threshold, flat)


def wins(game: Game, point: Tensor, where: Tensor | None = None) -> Tensor:
    """Whether inputs reach the goal."""
    return game.wins(point - game.x, where=where)


def boundary(game: Game, point: Tensor, threshold: float, flat: bool, where: Tensor | None = None) -> Tensor:
    """Bisect from a winning point toward x until the bracket is `threshold` of the way; the winning end."""
    distance = (point - game.x).abs().flatten(1).amax(1)
    low, high = torch.zeros_like(distance), torch.ones_like(distance)

    def at(share: Tensor) -> Tensor:
        if flat:
            radius = expand_as(share * distance, point)
            return game.x + (point - game.x).clamp(-radius, radius)
        return game.x + expand_as(share, point) * (point - game.x)

    for _ in range(math.ceil(math.log2(1 / threshold))):
        middle = (low + high) / 2
        won = wins(game, at(middle), where=where)
        high, low = torch.where(won, middle, high), torch.where(won, low, middle)
    return torch.where(expand_as(high < 1, point), at(high), point)


def normal(game: Game, point: Tensor, radius: Tensor, evaluations: int, flat: bool) -> Tensor:
    """Monte Carlo estimate of the direction into the winning side, of unit length."""
    features = point[0].numel() if len(point) else 1
    part = max(1, min(evaluations, NUMBERS_AT_ONCE // features))
    low, high = game.model.bounds
    sums = torch.zeros_like(point), torch.zeros_like(point)
    votes = torch.zeros_like(radius)
    for done in range(0, evaluations, part):
        shape = (min(part, evaluations - done), *point.shape[1:])
        u = game.noise.uniform(*shape, dtype=point.dtype) * 2 - 1 if flat else game.noise.normal(*shape, dtype=point.dtype)
        u = u / u.flatten(2).norm(dim=2).view(*u.shape[:2], *(1,) * (u.dim() - 2))
        probe = (point[:, None] + expand_as(radius, u) * u).clamp(low, high)
        u = (probe - point[:, None]) / expand_as(radius.clamp_min(1e-30), u)
        vote = game.wins(probe - game.x[:, None], population=True).to(point.dtype) * 2 - 1
        sums = sums[0] + torch.einsum("bm,bm...->b...", vote, u), sums[1] + u.sum(1)
        votes = votes + vote.sum(1)
    mean = expand_as(votes / evaluations, point)
    estimate = torch.where(mean.abs() == 1, mean * sums[1], sums[0] - mean * sums[1])
    return unit(estimate, l2(estimate))


def hop(game: Game, point: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Move along `direction`, halving the length until the result still wins; stay where none does."""
    low, high = game.model.bounds
    moved = torch.zeros_like(length, dtype=torch.bool)
    for _ in range(HALVINGS):
        there = (point + expand_as(length, point) * direction).clamp(low, high)
        now = wins(game, there, where=~moved) & ~moved
        point = torch.where(expand_as(now, point), there, point)
        moved = moved | now
        if moved.all():
            break
        length = length / 2
    return point
