"""Several attacks, one after the other."""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import field_validator

from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.score.square import Square
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Goal
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.threat import Threat


@record
class Cascade(Attack):
    """Each attack plays the rows that those before it did not break: the worst case per example, without waste.

    The default is the skeleton of AutoAttack without FAB: APGD on the cross entropy, APGD toward nine classes, Square.

    Attributes:
        attacks: in order; put the cheap ones first.
    """

    seeks: ClassVar = Seeks.BUDGET
    paper: ClassVar[Paper] = APGD.paper
    attacks: tuple[Attack, ...] = (APGD(), APGD(targets=9), Square())

    @field_validator("attacks")
    @classmethod
    def _some(cls, attacks: tuple[Attack, ...]) -> tuple[Attack, ...]:
        if not attacks:
            raise ValueError("at least one attack")
        return attacks

    @property
    def access(self) -> Access:  # type: ignore[override]  # known from the parts, not from the class
        return max(attack.access for attack in self.attacks)

    @property
    def threats(self) -> tuple[type[Threat], ...]:  # type: ignore[override]
        named = dict.fromkeys(t for attack in self.attacks for t in attack.threats)
        return tuple(t for t in named if all(issubclass(t, attack.threats) for attack in self.attacks))

    @property
    def goals(self) -> tuple[type[Goal], ...]:  # type: ignore[override]
        first, *rest = (attack.goals for attack in self.attacks)
        return tuple(goal for goal in first if all(goal in goals for goals in rest))

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        parts = [attack.passes(features, classes) for attack in self.attacks]
        return sum(f for f, _ in parts), sum(b for _, b in parts)

    def run(self, game: Game) -> Iterator[Rows]:
        for attack in self.attacks:
            yield from game.stage(attack)
