"""The exact adversary of linear models."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.minimum_norm.boundaries import cross, dual, inner
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import of_class, tie, without
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L0, L1, L2, Linf

LINEAR = 0.01  # how far the answer may be from the prediction, on the natural scale where a clean answer leads by about 15


@record
class ExactLinear(Attack):
    """The smallest change that flips a linear model, within the bounds, in closed form: a ground truth, not a heuristic.

    For logistic and softmax regression and linear SVMs, to measure them or to check other attacks on them. On any other
    model it is one DeepFool step, and a failure says nothing. FGSM is as exact on these models, but needs a radius.

    Attributes:
        tries: how many overshoots, each about ten times the one before, to step over the boundary by; the first is rounding.

    Deviations: the paper gives the worst case in a ball without bounds; this inverts it, and respects them. Toward a target
    among several classes the result is exact whenever one of the boundaries of the target decides, as it does with two
    classes; where several meet, it is a good upper bound (boundary after boundary, then shortened). Rows whose model
    proves not to be linear are not tried again.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (Linf, L2, L1, L0)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 1.001
    paper: ClassVar = Paper(
        key="goodfellow2015explaining",
        title="Explaining and Harnessing Adversarial Examples",
        authors="Goodfellow, Ian J. and Shlens, Jonathon and Szegedy, Christian",
        year=2015,
        venue="International Conference on Learning Representations",
        arxiv="1412.6572",
    )
    tries: Count = 5

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.tries + 2, classes - 1

    def run(self, game: Game) -> Iterator[Rows]:
        delta = game.start(random=False).requires_grad_()
        logits = game.logits(delta)
        goal = game.goal
        assert isinstance(goal, Untargeted | Targeted)
        others = without(game.clean_logits, goal.y).topk(logits.shape[1] - 1, dim=1).indices
        leads = of_class(logits, goal.y)[:, None] - logits.gather(1, others)  # (b, k - 1), of y over each other class
        union = isinstance(goal, Untargeted) or logits.shape[1] == 2
        slopes, missing = nearest(game, leads, delta) if union else every(game, leads, delta)
        rows = Rows(slopes=slopes, missing=missing)
        rounding = tie(logits)
        for k in range(self.tries):
            wanted = rows.missing + rounding * (1 + 0.1 * 10**k)
            if union:
                delta = cross(game, rows.slopes[:, 0], -wanted[:, 0], torch.zeros_like(game.x))
            else:
                delta = into_all(game, rows.slopes, wanted)
            margin = game.margin(delta)
            predicted = (rows.missing + products(rows.slopes, delta)).amax(dim=1)
            game.retire(game.found | ((margin - predicted).abs() > LINEAR))
            rows = yield rows


def nearest(game: Game, leads: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (b, 1, *shape) of what is missing (b, 1) to the boundary that is nearest within the bounds."""
    sign = 1 if isinstance(game.goal, Untargeted) else -1
    zero, last = torch.zeros_like(game.x), leads.shape[1] - 1
    least = missing = slope = torch.empty(0)
    for i in range(last + 1):
        gradient = sign * game.gradient(leads[:, i], delta, retain=i < last)
        gap = sign * leads[:, i].detach()
        step = cross(game, gradient, -gap, zero)
        reached = gap + inner(gradient, step) < 1000 * torch.finfo(gap.dtype).eps
        size = torch.where(reached, game.threat.size(game.x, game.x + step), torch.inf)
        if i == 0:
            least, missing, slope = size, gap, gradient
        else:
            nearer = size < least
            least, missing = torch.where(nearer, size, least), torch.where(nearer, gap, missing)
            slope = torch.where(expand_as(nearer, slope), gradient, slope)
    return slope[:, None], missing[:, None]


def every(game: Game, leads: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes (b, m, *shape) of what is missing (b, m) to a target, one for each other class."""
    return -game.jacobian(leads, delta), -leads.detach()


def into_all(game: Game, slopes: Tensor, missing: Tensor) -> Tensor:
    """A small change that closes all gaps of a linear model: always the one that is farthest, then scaled down."""
    size = torch.stack([dual(game, slope) for slope in slopes.unbind(1)], dim=1)
    delta, index = torch.zeros_like(game.x), torch.arange(len(slopes), device=slopes.device)
    for _ in range(10 * slopes.shape[1]):
        left = missing + products(slopes, delta)
        farthest = torch.where(left > 0, left / size, 0).argmax(dim=1)
        gap = left[index, farthest].clamp_min(0)
        if not gap.any():
            break
        delta = delta + cross(game, slopes[index, farthest], -gap, delta)
    gained = -products(slopes, delta)
    share = torch.where(missing > 0, missing / gained, 0).amax(dim=1)
    return delta * expand_as(torch.where((share > 0) & (share < 1), share, 1), delta)


def products(slopes: Tensor, delta: Tensor) -> Tensor:
    """(b, m) inner product of every slope with the change of its row."""
    return (slopes * delta[:, None]).flatten(2).sum(dim=2)
