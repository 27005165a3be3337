"""Fast gradient sign method."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import L2, Linf


@record
class FGSM(Attack):
    """One step of the size of the whole radius along the steepest direction.

    Exact on linear models, cheap, and weak on everything else: never evidence of robustness by itself. On an L2 ball it
    is the "fast gradient method". Not to be confused with BIM and PGD, which take many smaller steps.

    Attributes:
        loss: "cross_entropy" as in the paper, or "margin" or "dlr".

    Deviations: the cross entropy is used as the log-odds, whose gradient has the same direction in every row and does not
    vanish when the softmax saturates.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    paper: ClassVar = Paper(
        key="goodfellow2015explaining",
        title="Explaining and Harnessing Adversarial Examples",
        authors="Goodfellow, Ian J. and Shlens, Jonathon and Szegedy, Christian",
        year=2015,
        venue="International Conference on Learning Representations",
        arxiv="1412.6572",
    )
    loss: Literal["cross_entropy", "margin", "dlr"] = "cross_entropy"

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 2, 1

    def run(self, game: Game) -> Iterator[Rows]:
        theta = game.start(random=False).requires_grad_()
        gradient = game.gradient(getattr(game, self.loss)(theta), theta)
        theta = theta.detach()
        theta = game.project(theta + game.threat.reach * game.steepest(gradient, theta))
        game.submit(theta)
        yield Rows(theta=theta)
