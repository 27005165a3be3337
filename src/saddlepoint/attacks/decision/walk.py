"""What attacks that walk in from outside share: where they begin, and how they draw nearer in a straight line."""

import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.ops.norms import expand_as

BEST_OF = 4  # starts to choose the nearest from
WIDTH = 1e-3  # of the bracket in which the boundary on the way from a start to x is found
FIRST_STRIDE = 0.01  # of a length, to shorten it by
SEARCHES = 40  # questions to shorten a length, at most
AT_ONCE = 1 << 17  # random numbers a row and query, so that memory does not grow with the number of queries


def most_queries(attempts: int) -> int:
    """Queries of `begin`, at most."""
    return (1 + math.ceil(math.log2(1 / WIDTH))) * attempts


def begin(game: Game, attempts: int) -> Generator[Rows, Rows, Rows]:
    """Find a `point` that reaches the goal, with its `distance`: what was given, and of the random ones the nearest.

    Rows without one leave.
    """
    rows = Rows(point=game.x, distance=torch.full_like(game.x.flatten(1)[:, 0], torch.inf))
    for i in range(attempts):
        wanted = rows.distance.isinf() | torch.tensor(i < BEST_OF, device=game.x.device)
        point = draw(game, i)
        won = wins(game, point, where=wanted) & wanted
        point = boundary(game, point, WIDTH, flat=False, where=won)
        distance = torch.where(won, game.threat.size(game.x, point), torch.inf)
        nearer = distance < rows.distance
        rows.point = torch.where(expand_as(nearer, point), point, rows.point)
        rows.distance = torch.where(nearer, distance, rows.distance)
        rows = yield rows
        if i + 1 >= BEST_OF and rows.distance.isfinite().all():
            break
    game.retire(rows.distance.isinf())
    return (yield rows)


def draw(game: Game, i: int) -> Tensor:
    """The i-th start: what was given; else gray noise, and in turn noise of black and white, fewer and fewer white."""
    if i == 0 and game.starts is not None:
        return game.starts
    low, high = game.model.bounds
    noise = game.noise.fork(f"start {i}").uniform(*game.x.shape[1:], dtype=game.x.dtype)
    noise = noise if i % 2 == 0 else (noise < 0.5 / (1 + i // 2 % 8)).to(noise.dtype)
    return noise * (high - low) + low


def wins(game: Game, point: Tensor, where: Tensor | None = None) -> Tensor:
    """Whether inputs (b, *shape) reach the goal."""
    return game.wins(point - game.x, where=where)


def any_wins(game: Game, points: Tensor, where: Tensor | None = None) -> Tensor:
    """Which of several inputs a row, (b, m, *shape), reach the goal."""
    return game.wins(points - game.x[:, None], population=True, where=where)


def boundary(game: Game, point: Tensor, width: float, flat: bool, where: Tensor | None = None) -> Tensor:
    """Bisect from a winning point toward x until the bracket is `width` of the way; the winning end."""
    distance = (point - game.x).abs().flatten(1).amax(1)
    low, high = torch.zeros_like(distance), torch.ones_like(distance)

    def at(share: Tensor) -> Tensor:
        if flat:
            radius = expand_as(share * distance, point)
            return game.x + (point - game.x).clamp(-radius, radius)
        return game.x + expand_as(share, point) * (point - game.x)

    for _ in range(math.ceil(math.log2(1 / width))):
        middle = (low + high) / 2
        won = wins(game, at(middle), where=where)
        high, low = torch.where(won, middle, high), torch.where(won, low, middle)
    return torch.where(expand_as(high < 1, point), at(high), point)


def shorten(game: Game, at: Callable[[Tensor], Tensor], length: Tensor, width: Tensor, where: Tensor) -> Tensor:
    """How near `at(length)` can come and still win, with a bracket of the relative `width`; it does so at `length`.

    It asks just below first, then farther and farther down as long as that wins, and bisects from there.
    """
    inner, stride = torch.zeros_like(length), FIRST_STRIDE * length
    for _ in range(SEARCHES):
        where = where & (length - inner > width * length)
        if not where.any():
            break
        middle = torch.maximum((inner + length) / 2, length - stride)
        won = wins(game, at(middle), where=where)
        inner, length = torch.where(where & ~won, middle, inner), torch.where(won, middle, length)
        stride = 2 * stride
    return length
