"""What the searches of Carlini and Wagner share: the objectives f1 to f7, the tanh box, and Adam."""

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Targeted
from saddlepoint.ops.losses import margin, of_class, without

if TYPE_CHECKING:
    from saddlepoint.attacks.minimum_norm.carlini_wagner import CarliniWagner

Objective = Literal["f1", "f2", "f3", "f4", "f5", "f6", "f7"]
HINGED = ("f2", "f4", "f6")  # zero once won; before that, what `unhinged` returns
EDGE = 1e-4  # how far from +-1 the tanh starts at pixels on the bounds, where its slope would vanish
SMALLEST = 1e-6  # c, when it is read off a start that hardly moved


class TanhBox:
    """The bounds of the model as the image of an unbounded w."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.width = low, high - low

    def image(self, w: Tensor) -> Tensor:
        """The input that w stands for."""
        return (w.tanh() + 1) * (self.width / 2) + self.low

    def slope(self, w: Tensor) -> Tensor:
        """Derivative of `image`."""
        return (1 - w.tanh().square()) * (self.width / 2)

    def inverse(self, x: Tensor) -> Tensor:
        """The w of an input, kept off the edges."""
        return ((2 * (x - self.low) / self.width - 1) * (1 - EDGE)).atanh()


def adam(rows: Rows, gradient: Tensor, k: int | Tensor, step_size: float | Tensor) -> Tensor:
    """What to subtract in the k-th step, counted from one; the moments are columns of `rows`."""
    rows.mean = 0.9 * rows.mean + 0.1 * gradient
    rows.square = 0.999 * rows.square + 0.001 * gradient.square()
    root = (rows.square / (1 - 0.999**k)).sqrt() + 1e-8
    return step_size * rows.mean / (1 - 0.9**k) / root


def unhinged(attack: "CarliniWagner", game: Game, logits: Tensor) -> Tensor:
    """f of the paper, at most zero exactly when the goal is reached (f4, f5: when its probability is one half).

    Without the hinge of f2, f4 and f6, so that it has a slope on both sides of the boundary.
    """
    gap = game.goal.margin(logits) + attack.confidence / game.scale
    toward = isinstance(game.goal, Targeted)
    y = game.goal.y  # type: ignore[attr-defined]  # all goals of this attack have one
    logp = logits.log_softmax(1)
    wanted = of_class(logp, y) if toward else without(logp, y).logsumexp(1)  # log probability of winning
    probability_gap = margin(logp.exp(), y) * (-1 if toward else 1)
    match attack.objective:
        case "f1":
            return 1 - wanted
        case "f2":
            return probability_gap
        case "f3":
            return softplus(probability_gap) - math.log(2)
        case "f4":
            return 0.5 - wanted.exp()
        case "f5":
            return -wanted - math.log(2)
        case "f6":
            return gap
        case _:
            return softplus(gap) - math.log(2)


def won(attack: "CarliniWagner", game: Game, logits: Tensor) -> Tensor:
    """Whether the goal is reached by the confidence asked for."""
    return game.goal.margin(logits.detach()) < -attack.confidence / game.scale


def restart(rows: Rows, where: Tensor) -> None:
    """Let Adam forget these rows."""
    forget = where.reshape(-1, *[1] * (rows.w.dim() - 1))
    rows.k = torch.where(where, 0, rows.k)
    rows.mean, rows.square = rows.mean.masked_fill(forget, 0), rows.square.masked_fill(forget, 0)
