"""What a game leaves behind, one row an example."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.ops.statistics import interval


class Outcome(IntEnum):
    """How a row ended. Only NOT_FOUND and OUT_OF_QUERIES ever count as robust."""

    FOUND = 0  # an admissible input reached the goal, and did so again when asked once more
    NOT_FOUND = 1  # the attack ended without one
    ALREADY_WRONG = 2  # the clean input reaches the goal
    ESCAPED = 3  # what was found left the set or did not repeat: evidence of neither
    NONFINITE = 4  # the model answered NaN or infinity: an alarm, never a success and never robustness
    OUT_OF_QUERIES = 5  # the query limit ended the attack without one


ROBUST = (Outcome.NOT_FOUND, Outcome.OUT_OF_QUERIES)


@dataclass(frozen=True)
class Share:
    """A rate with what it rests on."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """The rate, NaN when n is 0."""
        return self.count / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Clopper-Pearson interval."""
        return interval(self.count, self.n)

    def data(self) -> dict[str, Any]:
        """Plain data; JSON has no NaN, so the value of nothing is None."""
        low, high = self.interval
        return {"count": self.count, "n": self.n, "value": self.value if self.n else None, "low": low, "high": high}

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} [{low:.1%}, {high:.1%}] (n={self.n})"


@dataclass(frozen=True, repr=False)
class Result:
    """Everything per example, so that any rate can be recomputed without the model.

    Attributes:
        x_adv: (n, *shape) the best candidate, or the clean input where there is none.
        outcome: (n,) int8 values of Outcome.
        size: (n,) size of the change in the threat's units; 0 for ALREADY_WRONG, infinite where nothing was found.
        clean: (n,) answers to the clean inputs.
        answer: (n,) answers to `x_adv`: to the re-check if it won, else when it was tried.
        queries: (n,) forward passes spent on the row, the look at the clean input among them; the final re-check is not.
        gradients: (n,) backward passes.
        blank: (n,) backward passes whose gradient was exactly zero.
        forwards: all forward passes of all rows, the re-check of what won included.
        backwards: all backward passes.
        theta: (n, *theta) what made `x_adv`, for a parametric threat (an angle, a flow); None for balls.
    """

    x_adv: Float[Tensor, "n *shape"]
    outcome: Int[Tensor, " n"]
    size: Float[Tensor, " n"]
    clean: Int[Tensor, " n"]
    answer: Int[Tensor, " n"]
    queries: Int[Tensor, " n"]
    gradients: Int[Tensor, " n"]
    blank: Int[Tensor, " n"]
    forwards: int
    backwards: int
    theta: Tensor | None = None

    def __len__(self) -> int:
        return len(self.outcome)

    def rows(self, *outcomes: Outcome) -> Bool[Tensor, " n"]:
        """Which rows ended in one of `outcomes`."""
        return torch.isin(self.outcome, torch.tensor(outcomes, dtype=self.outcome.dtype, device=self.outcome.device))

    @property
    def success_rate(self) -> Share:
        """Attack success rate: the share broken, of those whose clean input does not reach the goal by itself."""
        return Share(int(self.rows(Outcome.FOUND).sum()), int((~self.rows(Outcome.ALREADY_WRONG)).sum()))

    @property
    def robust_accuracy(self) -> Share:
        """The share of all examples that are right and were not broken."""
        return Share(int(self.rows(*ROBUST).sum()), len(self))

    @property
    def median_size(self) -> float:
        """Median size over the rows that were right, failures counted as infinite; NaN when there are none."""
        right = ~self.rows(Outcome.ALREADY_WRONG)
        return float(self.size[right].quantile(0.5, interpolation="lower")) if right.any() else float("nan")

    @classmethod
    def join(cls, parts: Sequence["Result"]) -> "Result":
        """One result of several batches, in order."""
        columns: dict[str, Any] = {}
        for f in fields(cls):
            values = [getattr(part, f.name) for part in parts]
            if values[0] is None:
                continue
            columns[f.name] = torch.cat(values) if isinstance(values[0], Tensor) else sum(values)
        return cls(**columns)

    def replaced(self, rows: Bool[Tensor, " n"], other: "Result") -> "Result":
        """This result with some rows from another one; what was spent on them is spent twice."""
        spent = ("queries", "gradients", "blank")
        columns: dict[str, Any] = {"forwards": self.forwards + other.forwards, "backwards": self.backwards + other.backwards}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                value = value.clone()
                value[rows] = getattr(other, f.name) + (value[rows] if f.name in spent else 0)
                columns[f.name] = value
        return replace(self, **columns)

    def __repr__(self) -> str:
        counts = {o.name: int(self.rows(o).sum()) for o in Outcome}
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return (
            f"Result(robust accuracy {self.robust_accuracy}, success rate {self.success_rate}, "
            f"median size {self.median_size:.4g}: {shown or 'empty'})"
        )
