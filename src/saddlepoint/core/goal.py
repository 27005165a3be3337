"""When the attacker has won, and how far from it they are.

Every loss is for the attacker to minimize, and no attack asks whether it is targeted: that is the goal's affair.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.core.errors import ConfigError, InputError
from saddlepoint.core.model import Access
from saddlepoint.ops import losses

Logits = Float[Tensor, "b *m k"]
Loss = Float[Tensor, "b *m"]
Labels = Int[Tensor, " b"]


class Goal(ABC):
    """What the attacker wants of every row.

    Attributes:
        needs: the access without which nobody can tell whether the goal is reached.
        scale_free: whether it is blind to a positive factor on the logits, as answers are.
    """

    needs: ClassVar[Access] = Access.LABELS
    scale_free: ClassVar[bool] = True

    @abstractmethod
    def reached(self, labels: Int[Tensor, "b *m"]) -> Bool[Tensor, "b *m"]:
        """Whether answers mean victory."""

    @abstractmethod
    def margin(self, logits: Logits) -> Loss:
        """Below zero exactly when won; a tie is not a win."""

    @abstractmethod
    def cross_entropy(self, logits: Logits) -> Loss:
        """The cross entropy loss in its form that does not saturate (the log-odds), signed for the attacker."""

    @abstractmethod
    def dlr(self, logits: Logits) -> Loss:
        """The difference of logits ratio of Croce and Hein, signed for the attacker."""

    @abstractmethod
    def textbook(self, logits: Logits) -> Loss:
        """The cross entropy as it is commonly computed, from the softmax: it saturates, and its gradient vanishes."""

    @abstractmethod
    def select(self, index: Any) -> "Goal":
        """The goal for some of the rows."""

    def bind(self, clean: Float[Tensor, "b k"]) -> "Goal":
        """The goal once the answers to the clean inputs are known."""
        return self

    def checked(self, rows: int, device: Any) -> "Goal":
        """The goal on the device, or InputError when it does not fit the number of rows."""
        return self


def checked_labels(y: Tensor, rows: int, device: Any) -> Tensor:
    """Labels (b,) on the device, or InputError."""
    if not isinstance(y, Tensor):
        raise InputError(f"Labels must be a tensor of class numbers; got {type(y).__name__}. Use torch.as_tensor(y).")
    if not y.numel():
        y = y.long()
    if y.is_floating_point() or y.is_complex() or (y.dtype.is_signed is False and str(y.dtype) == "torch.bool"):
        raise InputError(f"Labels must be integers; got dtype {y.dtype}. Use y.long().")
    if tuple(y.shape) != (rows,):
        hint = " For one-hot labels use y.argmax(1)." if y.dim() == 2 else " Give one label an example."
        raise InputError(f"Labels must have the shape ({rows},) of the batch; got {tuple(y.shape)}.{hint}")
    y = y.detach().to(device).long()
    if (y < 0).any():
        row = int((y < 0).nonzero()[0])
        raise InputError(f"Label {int(y[row])} at index {row} is not a class. Number classes from 0, in the model's order.")
    return y


def checked_range(y: Tensor, classes: int) -> None:
    """Raise InputError when a label is not a class of the model."""
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"Label {int(y[row])} at index {row} is not a class: the model has {classes} classes, 0 to {classes - 1}. "
            "Number classes from 0, in the model's order."
        )


@dataclass(frozen=True)
class _ClassGoal(Goal):
    """A goal about one class a row."""

    y: Labels

    def select(self, index: Any) -> "_ClassGoal":
        return replace(self, y=self.y[index])

    def bind(self, clean: Float[Tensor, "b k"]) -> "_ClassGoal":
        checked_range(self.y, clean.shape[1])
        return self

    def checked(self, rows: int, device: Any) -> "_ClassGoal":
        return replace(self, y=checked_labels(self.y, rows, device))

    def like(self, shape: torch.Size) -> Tensor:
        """The class of every row, with the population axis of a shape (b, *m) if it has one."""
        return self.y if len(shape) == 1 else self.y[:, None].expand(shape)


@dataclass(frozen=True)
class Untargeted(_ClassGoal):
    """Any answer but `y` (b,).

    Attributes:
        y: (b,) labels.
        rejection: the output that stands for a refusal to answer, if the model has one: it is no answer to be wrong with,
            so an input that is refused has not won (nor one that is answered as `y`).
    """

    rejection: int | None = None

    def reached(self, labels: Int[Tensor, "b *m"]) -> Bool[Tensor, "b *m"]:
        wrong = labels != self.like(labels.shape)
        return wrong if self.rejection is None else wrong & (labels != self.rejection)

    def margin(self, logits: Logits) -> Loss:
        y = self.like(logits.shape[:-1])
        if self.rejection is None:
            return losses.margin(logits, y)
        refused = logits[..., self.rejection]
        safe = losses.of_class(logits, y).maximum(refused)
        return safe - self._answers(logits, y).amax(dim=-1)

    def cross_entropy(self, logits: Logits) -> Loss:
        y = self.like(logits.shape[:-1])
        if self.rejection is None:
            return losses.log_odds(logits, y)
        safe = torch.logaddexp(losses.of_class(logits, y), logits[..., self.rejection])
        return safe - self._answers(logits, y).logsumexp(dim=-1)

    def dlr(self, logits: Logits) -> Loss:
        return losses.ratio(self.margin(logits), logits)

    def textbook(self, logits: Logits) -> Loss:
        return losses.log_probability(logits, self.like(logits.shape[:-1]))

    def _answers(self, logits: Logits, y: Tensor) -> Logits:
        """The logits of wrong answers, minus infinity elsewhere."""
        assert self.rejection is not None
        return losses.without(losses.without(logits, y), torch.full_like(y, self.rejection))


@dataclass(frozen=True)
class Targeted(_ClassGoal):
    """The answer `y` (b,), a class that the attacker chose."""

    def reached(self, labels: Int[Tensor, "b *m"]) -> Bool[Tensor, "b *m"]:
        return labels == self.like(labels.shape)

    def margin(self, logits: Logits) -> Loss:
        return -losses.margin(logits, self.like(logits.shape[:-1]))

    def cross_entropy(self, logits: Logits) -> Loss:
        return -losses.log_odds(logits, self.like(logits.shape[:-1]))

    def dlr(self, logits: Logits) -> Loss:
        return losses.targeted_ratio(self.margin(logits), logits)

    def textbook(self, logits: Logits) -> Loss:
        return -losses.log_probability(logits, self.like(logits.shape[:-1]))


class _Unnamed(Goal):
    """A goal that turns into another one before it is asked."""

    def _unbound(self, _: Any) -> Any:
        raise InputError(f"{type(self).__name__} becomes Targeted at the start of an attack; give it to one, do not ask it.")

    reached = margin = cross_entropy = dlr = textbook = _unbound  # type: ignore[assignment]  # wider than any of them


@dataclass(frozen=True)
class SourceTarget(_Unnamed):
    """Every example, all of them of class `source`, answered as `target`: the strictest goal of Papernot et al. (2016).

    Attributes:
        y: (b,) labels, to make sure of that.
        source: the class they all have.
        target: the class to reach.
    """

    y: Labels
    source: int
    target: int

    def checked(self, rows: int, device: Any) -> Targeted:
        y = checked_labels(self.y, rows, device)
        if (y != self.source).any():
            row = int((y != self.source).nonzero()[0])
            raise InputError(
                f"SourceTarget is about examples of class {self.source}; the one at index {row} is of class {int(y[row])}. "
                f"Select them first: x[y == {self.source}]."
            )
        if self.source == self.target:
            raise InputError(f"SourceTarget needs two classes; got {self.source} twice. Name another target.")
        return Targeted(checked_labels(torch.full_like(y, self.target), rows, device))

    def select(self, index: Any) -> "SourceTarget":
        return replace(self, y=self.y[index])


@dataclass(frozen=True)
class LeastLikely(_Unnamed):
    """The class that the model thinks least likely for the clean input (Kurakin et al., 2017), fixed before the attack."""

    needs: ClassVar[Access] = Access.SCORES

    def bind(self, clean: Float[Tensor, "b k"]) -> Targeted:
        return Targeted(clean.argmin(dim=1))

    def select(self, index: Any) -> "LeastLikely":
        return self


@dataclass(frozen=True)
class ReduceConfidence(_ClassGoal):
    """Probability of class `y` (b,) below a bound: the mildest of the four goals of Papernot et al. (2016).

    It is about probabilities, so it alone does depend on the scale of the logits.
    """

    below: float = 0.5
    needs: ClassVar[Access] = Access.SCORES
    scale_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.below, int | float) or not 0 < self.below < 1:
            raise ConfigError(f"ReduceConfidence.below must be a probability between 0 and 1; got {self.below!r}.")

    def reached(self, labels: Int[Tensor, "b *m"]) -> Bool[Tensor, "b *m"]:
        raise InputError("ReduceConfidence cannot be judged by labels. Use a model that gives scores.")

    def margin(self, logits: Logits) -> Loss:
        y = self.like(logits.shape[:-1])
        return logits.log_softmax(-1).gather(-1, y.unsqueeze(-1)).squeeze(-1).exp() - self.below

    def cross_entropy(self, logits: Logits) -> Loss:
        return losses.log_odds(logits, self.like(logits.shape[:-1]))

    def dlr(self, logits: Logits) -> Loss:
        return losses.ratio(losses.margin(logits, self.like(logits.shape[:-1])), logits)

    def textbook(self, logits: Logits) -> Loss:
        return losses.log_probability(logits, self.like(logits.shape[:-1]))
