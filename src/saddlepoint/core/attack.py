"""What an attack is: a frozen record of hyperparameters with one method that reads like the paper."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from saddlepoint.core.goal import Goal, LeastLikely, ReduceConfidence, Targeted, Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.paper import Paper
from saddlepoint.core.threat import Threat

if TYPE_CHECKING:
    from saddlepoint.core.game import Game


class Seeks(Enum):
    """What an attack tries to do."""

    BUDGET = "win inside a given set"
    MINIMUM = "win as small as possible"


class Rows:
    """What an attack remembers of the rows in play: tensors whose first axis is the row, kept in step by the game."""

    def __init__(self, **columns: Any) -> None:
        self.__dict__.update(columns)

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...  # columns are dynamic

    def __getattr__(self, name: str) -> Any:  # called for what is missing only
        raise AttributeError(f"Rows has no column {name!r}; it has {', '.join(self.__dict__)}.")

    def select(self, index: Tensor) -> "Rows":
        """The columns of some rows; what is not a column (a number, None) is carried along."""
        columns = self.__dict__.items()
        return Rows(**{k: v.index_select(0, index) if isinstance(v, Tensor) and v.dim() else v for k, v in columns})


class Attack(ABC):
    """A search for adversarial inputs.

    Attributes:
        access: what it asks of the model.
        seeks: whether it wins inside a given set or as small as possible.
        paper: where it comes from.
        threats: the kinds of threat it can search.
        goals: the kinds of goal it can pursue.
        slack: the laws' promise: it succeeds on a half-space once the radius is `slack` times the exact distance, and a
            minimum-norm attack comes within that factor of the optimum.
    """

    access: ClassVar[Access]
    seeks: ClassVar[Seeks]
    paper: ClassVar[Paper]
    threats: ClassVar[tuple[type[Threat], ...]] = (Threat,)
    goals: ClassVar[tuple[type[Goal], ...]] = (Untargeted, Targeted, LeastLikely, ReduceConfidence)
    slack: ClassVar[float] = 1.05

    @abstractmethod
    def passes(self, features: int, classes: int) -> tuple[int, int]:
        """Forward and backward passes a row, at most, for inputs of that many features and so many classes."""

    @abstractmethod
    def run(self, game: "Game") -> Iterator[Rows]:
        """Search: ask the game, and yield the rows to let those leave that have won or may ask no more."""


class LearnedAttack(ABC):
    """What is learned on some examples to be played on others: `fit` returns an attack that asks nothing of the model.

    Attributes:
        access: what learning asks of the model.
        paper: where it comes from.
        threats: the kinds of threat it can learn for.
        goals: the kinds of goal it can learn to pursue.
    """

    access: ClassVar[Access]
    paper: ClassVar[Paper]
    threats: ClassVar[tuple[type[Threat], ...]] = (Threat,)
    goals: ClassVar[tuple[type[Goal], ...]] = (Untargeted, Targeted)

    @abstractmethod
    def fit(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Threat,
        *,
        seed: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Attack:
        """Learn on inputs (n, *shape).

        Args:
            model: what is attacked, entered by the caller's `saddlepoint.fit`.
            x: within the model's bounds, on its device.
            goal: what to reach on each of them.
            threat: the set that the result stays in.
            seed: key of all randomness.
            on_step: called with the steps done and the steps in all.
        """
