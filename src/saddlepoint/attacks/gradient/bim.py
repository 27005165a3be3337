"""Basic iterative method."""

import math
from collections.abc import Iterator
from typing import ClassVar

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import Linf


@record
class BIM(Attack):
    """FGSM iterated with steps of one gray level, clipped to the ball around the clean input (I-FGSM).

    PGD without a random start: do not count the two as independent evidence. With `LeastLikely()` as the goal it is the
    iterative least-likely class method of the same paper.

    Attributes:
        steps: gradient evaluations; None means Kurakin's rule min(eps + 4, 1.25 eps), rounded up, with eps in gray levels.
        step_size: in input units; None means one gray level, 1/255 of the width of the bounds.

    Deviations: the cross entropy is used as the log-odds, which does not saturate.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf,)
    paper: ClassVar = Paper(
        key="kurakin2017adversarial",
        title="Adversarial Examples in the Physical World",
        authors="Kurakin, Alexey and Goodfellow, Ian J. and Bengio, Samy",
        year=2017,
        venue="International Conference on Learning Representations, Workshop",
        arxiv="1607.02533",
    )
    steps: Count | None = None
    step_size: StepSize | None = None

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        steps = self.steps or 259
        return steps + 2, steps

    def run(self, game: Game) -> Iterator[Rows]:
        low, high = game.model.bounds
        level = (high - low) / 255
        eps = game.threat.reach / level
        steps = self.steps or max(1, math.ceil(min(eps + 4, 1.25 * eps)))
        step_size = self.step_size or level
        yield from PGD(steps=steps, step_size=step_size, random_start=False, loss="cross_entropy").run(game)
