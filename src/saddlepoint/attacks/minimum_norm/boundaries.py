"""What attacks that linearize the boundaries between classes share: how far these are, and which way leads across."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from saddlepoint.core.game import Game
from saddlepoint.core.goal import Goal, ReduceConfidence, Untargeted
from saddlepoint.core.threat import Threat
from saddlepoint.ops import hyperplane, norms
from saddlepoint.ops.losses import of_class, without
from saddlepoint.threats import L0, L1, L2, Linf

NORMS: dict[type[Threat], tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    Linf: (hyperplane.cross_linf, norms.l1),
    L2: (hyperplane.cross_l2, norms.l2),
    L1: (hyperplane.cross_l1, norms.linf),
    L0: (hyperplane.cross_l0, norms.linf),
}
"""The way across a hyperplane in each norm, and the dual norm, by which a gap is divided to give a distance."""


def cross(game: Game, slope: Tensor, gain: Tensor, delta: Tensor) -> Tensor:
    """The smallest step from delta within the bounds that gains so much along the slope, or else as much as they let it."""
    way, _ = _of(game.threat)
    low, high = game.model.bounds
    return way(slope, gain, low - game.x - delta, high - game.x - delta)


def dual(game: Game, slope: Tensor) -> Tensor:
    """(b,) the dual norm of a slope."""
    return _of(game.threat)[1](slope)


def _of(threat: Threat) -> tuple[Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    return next(pair for norm, pair in NORMS.items() if isinstance(threat, norm))


def wrong_classes(game: Game, count: int | None = None) -> Tensor:
    """(b, m) the classes to cross over to, by their clean logits; of a goal that leaves no choice a single column."""
    if not isinstance(game.goal, Untargeted):
        return torch.zeros_like(game.clean_logits[:, :1], dtype=torch.int64)
    others = without(game.clean_logits, game.goal.y)
    return others.topk(min(count or others.shape[1], others.shape[1] - 1), dim=1).indices


def gaps(goal: Goal, logits: Tensor, classes: Tensor) -> Tensor:
    """(b, m) what is missing to each class, in logits: below zero beyond the boundary.

    A target must beat all other classes at once. It is taken to have done so when it is likelier than all of them together:
    a smooth boundary without the corners where two of them meet, in which linearizations get caught.
    """
    if isinstance(goal, Untargeted):
        return of_class(logits, goal.y)[:, None] - logits.gather(1, classes)
    odds = goal.below / (1 - goal.below) if isinstance(goal, ReduceConfidence) else 1.0
    return (goal.cross_entropy(logits) - math.log(odds))[:, None]


def inner(a: Tensor, b: Tensor) -> Tensor:
    """(b,) inner product of each row."""
    return (a * b).flatten(1).sum(dim=1)
