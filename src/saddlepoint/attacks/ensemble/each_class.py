"""The same attack toward one wrong class after the other."""

from collections.abc import Iterator
from typing import ClassVar

from saddlepoint.attacks.ensemble.wrapper import Wrapper
from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack, Rows
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access


@record
class EachClass(Wrapper):
    """Play `attack` toward each of the likeliest wrong classes; whatever changes the answer counts, the best row by row.

    Far stronger than one untargeted search where the loss has many basins, as on robust models, and as much dearer; the
    "multi-targeted" attack. Under a targeted goal there is but one class, and `attack` is played once.

    Attributes:
        attack: what to play.
        classes: how many classes to try, at most all but one.
    """

    paper: ClassVar = APGD.paper
    attack: Attack = PGD()
    classes: Count = 9

    @property
    def access(self) -> Access:  # type: ignore[override]  # the ranks of the classes are read off scores
        return max(Access.SCORES, self.attack.access)

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        forwards, backwards = self.attack.passes(features, classes)
        searches = min(self.classes, classes - 1)
        return forwards * searches + 1, backwards * searches

    def run(self, game: Game) -> Iterator[Rows]:
        if not isinstance(game.goal, Untargeted):
            yield from game.stage(self.attack)
            return
        for rank in range(min(self.classes, game.clean_logits.shape[1] - 1)):
            yield from game.stage(self.attack, toward=rank)
