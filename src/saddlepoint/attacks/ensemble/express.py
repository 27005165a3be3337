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

    For evaluations that AutoAttack would make too long: a row leaves at its first win, and one that stands costs some 630
    passes in Linf and 830 in L2 instead of 7500 and 8800. The parts search differently: many short searches of the margin
    from random places on the rim of the ball, one long search of the cross entropy, and from the input outward. There is no
    search without gradients: where these are masked only AutoAttack, which ends with Square, can tell, and the audit says
    whether they are.

    Attributes:
        steps: gradient evaluations of a search in Tournament's first round. APGD and FAB's searches, one in Linf and three
            in L2, take eight times as many, as the last round does.

    Deviations: an ensemble of this library's own; its parts name what they were made from.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    paper: ClassVar[Paper] = Tournament.paper
    steps: Count = 6

    def cascade(self, targets: int) -> Cascade:
        """The stages, with so many targets of FAB."""
        longest = 8 * self.steps
        return Cascade(attacks=(Tournament(steps=self.steps), APGD(steps=longest), FAB(steps=longest, targets=targets)))

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.cascade(3).passes(features, classes)

    def run(self, game: Game) -> Iterator[Rows]:
        # In Linf two more broke nothing on ten networks (docs/benchmarks.md).
        for attack in self.cascade(1 if isinstance(game.threat, Linf) else 3).attacks:
            yield from game.stage(attack)
