"""Express: a short ensemble."""

from collections.abc import Iterator
from typing import ClassVar

from saddlepoint.attacks.ensemble.cascade import Cascade
from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.gradient.tournament import Tournament
from saddlepoint.attacks.minimum_norm.fab import FAB
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.threats import L2, Linf


@record
class Express(Attack):
    """Tournament, then APGD and FAB on the rows that stand: a robust accuracy for less than a tenth of AutoAttack's passes.

    For evaluations that AutoAttack would make too long: a row leaves at its first win, and one that stands costs some 830
    passes instead of 8800. The parts search differently: many short searches of the margin from random places on the rim of
    the ball, one long search of the cross entropy, and from the input outward. There is no search without gradients: where
    these are masked only AutoAttack, which ends with Square, can tell, and the audit says whether they are.

    Attributes:
        steps: gradient evaluations of a search in Tournament's first round. APGD and FAB's three searches take eight times
            as many, as the last round does.

    Deviations: an ensemble of this library's own; its parts name what they were made from.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    paper: ClassVar[Paper] = Tournament.paper
    steps: Count = 6

    @property
    def cascade(self) -> Cascade:
        """The stages."""
        longest = 8 * self.steps
        return Cascade(attacks=(Tournament(steps=self.steps), APGD(steps=longest), FAB(steps=longest, targets=3)))

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.cascade.passes(features, classes)

    def run(self, game: Game) -> Iterator[Rows]:
        for attack in self.cascade.attacks:
            yield from game.stage(attack)
