"""What an attack may ask of a classifier."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from enum import IntEnum
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saddlepoint.core.errors import AccessError, InputError
from saddlepoint.ops.losses import unanswered


class Access(IntEnum):
    """How much of a model an attacker sees; each level includes those before it."""

    NONE = 0  # crafted elsewhere
    LABELS = 1  # the answer
    SCORES = 2  # a score for every class
    GRADIENTS = 3  # the network itself


class Model(ABC):
    """A classifier of inputs within `bounds`.

    Attributes:
        bounds: lowest and highest value of an input.
        access: what it lets an attacker see.
        device: where inputs should be, or None for wherever they are.
        rejection: the output that stands for a refusal to answer, or None if the model always answers.
    """

    bounds: tuple[float, float]
    access: Access
    device: torch.device | None = None
    rejection: int | None = None

    @abstractmethod
    def logits(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """One score a class, higher for likelier, differentiable if `access` says so."""

    def labels(self, x: Float[Tensor, "b *shape"]) -> Int[Tensor, " b"]:
        """The answers; -1 where the logits are not finite enough to give one."""
        logits = self.logits(x)
        return logits.argmax(dim=1).masked_fill(unanswered(logits), -1)

    def session(self) -> AbstractContextManager[Any]:
        """Entered around all questions of one game; what the model changes inside, it restores on the way out."""
        return nullcontext()

    def require(self, access: Access, who: str, instead: str) -> None:
        """Raise AccessError unless the model lets `who` see as much as `access`."""
        if self.access < access:
            raise AccessError(
                f"{who} needs {access.name.lower()}, and this model gives {self.access.name.lower()} only. {instead}"
            )


def checked_bounds(bounds: Any) -> tuple[float, float]:
    """A pair low < high of finite numbers, or one error."""
    try:
        if isinstance(bounds, str):
            raise TypeError
        low, high = (float(b) for b in bounds)
    except (TypeError, ValueError):
        raise InputError(f"bounds must be a pair (low, high); got {bounds!r}. Images in [0, 1] have (0, 1).") from None
    if not (low < high and abs(low) < float("inf") and high < float("inf")):
        raise InputError(f"bounds must be finite with low < high; got ({low:g}, {high:g}). Images in [0, 1] have (0, 1).")
    return low, high
