"""What is compared: a network, a budget, our attack, the same attack elsewhere, and the figures that ours has to reach."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from saddlepoint.core.attack import Attack, LearnedAttack
from saddlepoint.core.config import to_config
from saddlepoint.models.train import Trainer

CLASSES = 10
inf = math.inf
Goal = Literal["untargeted", "targeted", "unlabelled"]
Floor = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Call:
    """One attack of one library: its name there, and every parameter that is not the library's default.

    Attributes:
        attack: a class or function of the library.
        parameters: by its names for them.
        batch: examples that the library is given at a time; None for all.
        color: whether it is given three equal channels, of which the network sees the mean.
    """

    attack: str
    parameters: dict[str, Any]
    batch: int | None = None
    color: bool = False

    def __str__(self) -> str:
        rendered = f"{self.attack}({', '.join(f'{k}={v!r}' for k, v in self.parameters.items())})"
        rendered += ", on three equal channels" if self.color else ""
        return rendered if self.batch is None else f"{rendered}, {self.batch} example(s) at a time"


@dataclass(frozen=True)
class Bar:
    """A figure that ours has to reach.

    Attributes:
        number: in the list of bars, which were set before anything here was measured.
        kind: "times": CPU time of the rival over ours, at least; "floor": ours over the loop written by hand, at most;
            "success": ours less the rival's, at least; "median" and "forwards": ours over the rival's, at most.
        factor: the figure.
        against: the rival; None for the best: in time, the fastest of those that are about as strong as any (within 2
            points of success and 2 % of the median); else the best of all.
    """

    number: int
    kind: Literal["times", "floor", "success", "median", "forwards"]
    factor: float
    against: str | None = None

    @property
    def at_least(self) -> bool:
        """Whether more is better."""
        return self.kind in ("times", "success")

    def __str__(self) -> str:
        rival = self.against or ("the fastest that is as strong" if self.kind == "times" else "the best")
        asked, less = f"{self.factor:.3g}", f", less {-100 * self.factor:.3g} points" if self.factor else ""
        return {
            "times": f"at least {asked} times as fast as {rival}",
            "floor": f"at most {asked} times the CPU time of the loop written by hand",
            "success": f"success at least that of {rival}{less}",
            "median": f"median at most {asked} times that of {rival}",
            "forwards": f"forwards at most {asked} times those of {rival}",
        }[self.kind]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison. Every side gets the same examples, network, seeds and budget, and is judged alike.

    Attributes:
        name: on the command line.
        about: a sentence.
        group: what it is drawn with.
        bars: what ours has to reach.
        net: which network; see `nets`.
        n: number of examples.
        norm: in which distance is measured; None for no distance.
        radius: largest distance that counts; None where the nearest is sought.
        budget: in words.
        ours: the attack, one that learns, or a trainer.
        threat: where ours searches, as text.
        calls: the other libraries'; a label is the library's name, and may go on in brackets: "foolbox (one by one)".
        goal: "untargeted"; "targeted" at the next class; or "unlabelled", without the true labels.
        floor: the loop that one would write by hand, if there is one.
        rounds: how often at most to measure a slow library.
    """

    name: str
    about: str
    group: str
    bars: tuple[Bar, ...]
    net: str
    n: int
    norm: float | None
    radius: float | None
    budget: str
    ours: Attack | LearnedAttack | Trainer
    threat: str
    calls: Mapping[str, Call]
    goal: Goal = "untargeted"
    floor: Floor | None = None
    rounds: Mapping[str, int] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether networks are trained instead of attacked."""
        return isinstance(self.ours, Trainer)

    @property
    def minimum(self) -> bool:
        """Whether the nearest adversarial input is sought."""
        return self.norm is not None and self.radius is None

    def data(self) -> dict[str, Any]:
        """Plain data of all that the figures depend on."""
        asked = {key: getattr(self, key) for key in ("net", "n", "radius", "budget", "threat", "goal")}
        norm = None if self.norm is None else "linf" if self.norm == inf else f"l{self.norm:g}"
        calls = {label: str(call) for label, call in self.calls.items()}
        return asked | {"norm": norm, "ours": to_config(self.ours), "calls": calls}
