"""What an attack made of another one inherits from it."""

from saddlepoint.core.attack import Attack, Seeks
from saddlepoint.core.goal import Goal
from saddlepoint.core.model import Access
from saddlepoint.core.threat import Threat


class Wrapper(Attack):
    """An attack that plays another one.

    Attributes:
        attack: the other one.
    """

    attack: Attack

    @property
    def access(self) -> Access:  # type: ignore[override]  # known from the part, not from the class
        return self.attack.access

    @property
    def seeks(self) -> Seeks:  # type: ignore[override]
        return self.attack.seeks

    @property
    def threats(self) -> tuple[type[Threat], ...]:  # type: ignore[override]
        return self.attack.threats

    @property
    def goals(self) -> tuple[type[Goal], ...]:  # type: ignore[override]
        return self.attack.goals

    @property
    def slack(self) -> float:  # type: ignore[override]
        return self.attack.slack
