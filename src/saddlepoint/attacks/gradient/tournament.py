"""Tournament: a knockout among the wrong classes."""

import math
from collections.abc import Generator, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Goal, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import of_class, without
from saddlepoint.threats import L2, Linf

FIRST = 2.0  # step size at the start of a search, in radii
MOMENTUM = 0.75  # both as in APGD
EVEN, HEAVY = 0, 16  # powers of the uniform sizes of parts: all are alike, or few hold nearly all of the change
STARTS = {  # parts of a side and their power, search by search in turn
    Linf: ((2, EVEN), (3, EVEN), (4, EVEN)),
    L2: ((2, EVEN), (7, HEAVY), (3, EVEN), (14, HEAVY)),
}


@record
class Tournament(Attack):
    """Short searches toward many wrong classes, then longer ones toward the half that came nearest, until one is left.

    A strong search at a small, known price, for robust accuracy on many examples. The classes that are worth a search differ
    from row to row, and few are: the minimum-margin attack takes those of the clean logits, here they are what the row's own
    searches have come nearest to, which is successive halving. It is all gradients, and where these are masked it finds
    little: Express adds a second opinion, AutoAttack a third.

    Every search starts on the rim of the ball from a coarse random pattern: in Linf a corner that is alike in all of two to
    four squares a side, in L2 that or a few patches that hold nearly all of the change. Such starts are farther from each
    other than noise, whose effects cancel out, and lead to lower margins.

    Attributes:
        targets: classes in the first round, at most all but one; each round keeps half of them.
        steps: gradient evaluations of a search in the first round; each round doubles them. An untargeted search of twice
            as many comes before.

    Deviations: an attack of this library's own. Of the minimum-margin attack it has the choice of classes by margin and the
    plain margin as loss, of Adaptive Auto Attack (Liu et al., 2022) that history decides where passes go, though the row's
    own alone, since no row may depend on others in its batch; of APGD the momentum, while the step size falls along half a
    cosine. Under a targeted goal there is but one class, and each round is one search.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    paper: ClassVar = Paper(
        key="gao2022fast",
        title="Fast and Reliable Evaluation of Adversarial Robustness with Minimum-Margin Attack",
        authors="Gao, Ruize and Wang, Jiongxiao and Zhou, Kaiwen and Liu, Feng and Xie, Binghui and Niu, Gang and Han, Bo"
        " and Cheng, James",
        year=2022,
        venue="International Conference on Machine Learning",
        arxiv="2206.07314",
    )
    targets: Count = 9
    steps: Count = 8

    def rounds(self, rivals: int) -> list[tuple[int, int]]:
        """Searches of each round, and the steps of one: with few rivals there are fewer searches, but as many rounds."""
        halvings = range(self.targets.bit_length())
        return [(min(self.targets >> i, rivals), self.steps << i) for i in halvings]

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        plan = [(1, 2 * self.steps), *self.rounds(classes - 1)]
        backwards = sum(searches * steps for searches, steps in plan)
        return backwards + sum(searches for searches, _ in plan) + 1, backwards

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(nearest=gaps(game.goal, game.clean_logits))
        rows, played = (yield from self.search(game, rows, 2 * self.steps, 0, None)), 1
        for searches, steps in self.rounds(rivals(game.goal, rows.nearest.shape[1])):
            rows.order = rows.nearest.argsort(dim=1, stable=True)[:, :searches]
            for place in range(searches):
                rows = yield from self.search(game, rows, steps, played, place)
                played += 1

    def search(self, game: Game, rows: Rows, steps: int, played: int, place: int | None) -> Generator[Rows, Rows, Rows]:
        """Toward the class at that place of the row's order, or without one toward whichever is nearest."""
        rows.theta = rows.before = game.project(corner(game, played))
        for k in range(steps + 1):
            last = k == steps
            theta = rows.theta if last else rows.theta.requires_grad_()
            found = gaps(game.goal, game.logits(theta))
            rows.nearest = torch.where(found.detach() < rows.nearest, found.detach(), rows.nearest)
            if not last:
                value = found.amin(1) if place is None else of_class(found, rows.order[:, place])
                gradient = game.gradient(value, theta)
                theta = theta.detach()
                size = FIRST * game.threat.reach * (1 + math.cos(math.pi * k / steps)) / 2
                z = game.project(theta + size * game.steepest(gradient, theta))
                if k:
                    z = game.project(theta + MOMENTUM * (z - theta) + (1 - MOMENTUM) * (theta - rows.before))
                rows.before, rows.theta = theta, z
            rows = yield rows
        return rows


def gaps(goal: Goal, logits: Tensor) -> Tensor:
    """(b, k) by how much each wrong class falls short, infinity for what is no wrong class; (b, 1) if the goal names one."""
    if not isinstance(goal, Untargeted):
        return goal.margin(logits)[:, None]
    safe, wrong = of_class(logits, goal.y), without(logits, goal.y)
    if goal.rejection is not None:
        safe = safe.maximum(logits[:, goal.rejection])
        wrong = without(wrong, torch.full_like(goal.y, goal.rejection))
    return safe[:, None] - wrong


def rivals(goal: Goal, columns: int) -> int:
    """How many classes there are to aim at."""
    return columns - 1 - (goal.rejection is not None) if isinstance(goal, Untargeted) else 1


def corner(game: Game, played: int) -> Tensor:
    """A random point on the rim of the ball, the same all over each of so many parts of an image, channel by channel."""
    starts = next(starts for norm, starts in STARTS.items() if isinstance(game.threat, norm))
    cells, power = starts[played % len(starts)]
    shape = game.x.shape[1:]
    coarse = [min(cells, n) for n in shape[-2:]]
    value = 2 * game.noise.uniform(*shape[:-2], *coarse, dtype=game.x.dtype) - 1
    pattern = value.sign() * value.abs().clamp_min(0.1) ** power
    for axis, (n, parts) in enumerate(zip(shape[-2:], coarse, strict=True), start=-len(coarse)):
        pattern = pattern.index_select(axis, torch.arange(n, device=pattern.device) * parts // n)
    return game.threat.reach * game.steepest(pattern, torch.zeros_like(game.x))
