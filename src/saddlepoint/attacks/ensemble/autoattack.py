"""AutoAttack."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from saddlepoint.attacks.ensemble.cascade import Cascade
from saddlepoint.attacks.ensemble.restarts import Restarts
from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.minimum_norm.fab import FAB
from saddlepoint.attacks.score.square import Square
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.threat import Threat
from saddlepoint.threats import L1, L2, Linf


@record
class AutoAttack(Attack):
    """The standard ensemble: what a robust accuracy is compared by, with nothing to tune.

    A Cascade, so a row leaves at its first win, inside a stage as well as between stages. Use "rand" for randomized models,
    wrapped in ExpectationOver(model, 20); "plus" where an hour does not matter.

    Attributes:
        version: "standard": APGD on the cross entropy, APGD toward nine classes, FAB toward nine classes, Square. "plus":
            five restarts of APGD on the cross entropy and on the DLR and of FAB first. "rand": APGD on both losses.
        steps: gradient evaluations of each search.
        queries: proposals of Square.

    Deviations: with k classes the targeted stages try at most k - 1, and with two or three the DLR is what APGD says of it,
    so that any number of classes works. In the L1 ball the public code restarts APGD five times, and aims at five classes;
    here the stages are those of the other balls.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar[tuple[type[Threat], ...]] = (Linf, L2, L1)
    paper: ClassVar[Paper] = APGD.paper
    version: Literal["standard", "plus", "rand"] = "standard"
    steps: Count = 100
    queries: Count = 5000

    @property
    def cascade(self) -> Cascade:
        """The stages."""
        entropy, ratio, targeted = (
            APGD(steps=self.steps),
            APGD(steps=self.steps, loss="dlr"),
            APGD(steps=self.steps, targets=9),
        )
        square, toward = Square(steps=self.queries, rescale=False), FAB(steps=self.steps, targets=9)
        five = [Restarts(attack=a, restarts=5) for a in (entropy, ratio, FAB(steps=self.steps, random_start=True))]
        versions: dict[str, list[Attack]] = {
            "standard": [entropy, targeted, toward, square],
            "plus": [*five, square, targeted, toward],
            "rand": [entropy, ratio],
        }
        return Cascade(attacks=tuple(versions[self.version]))

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.cascade.passes(features, classes)

    def run(self, game: Game) -> Iterator[Rows]:
        for attack in self.cascade.attacks:
            yield from game.stage(attack)
