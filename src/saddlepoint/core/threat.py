"""The set of inputs an attacker may make out of `x`, with its geometry."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from saddlepoint.core.errors import InputError
from saddlepoint.core.noise import Noise

Bounds = tuple[float, float]
Batch = Float[Tensor, "b *shape"]
Theta = Float[Tensor, "b *theta"]


class Threat(ABC):
    """A set of transformations of `x`, described by a parameter theta of any shape.

    For a norm ball theta is the additive change delta; for a patch its content and place; for a rotation an angle.

    Attributes:
        parametric: whether a change can be measured by its theta alone, not by its result.
    """

    parametric: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """The text that makes it: "linf:0.3"."""

    @abstractmethod
    def zero(self, x: Batch) -> Theta:
        """The theta that changes nothing."""

    @abstractmethod
    def start(self, x: Batch, noise: Noise, bounds: Bounds) -> Theta:
        """A random theta, uniform in the set, then projected onto the bounds of the model."""

    @abstractmethod
    def apply(self, x: Batch, theta: Theta) -> Batch:
        """The adversarial input."""

    @abstractmethod
    def project(self, x: Batch, theta: Theta, bounds: Bounds) -> Theta:
        """The nearest theta whose result is in the set and within the bounds."""

    @abstractmethod
    def steepest(self, x: Batch, theta: Theta, gradient: Theta, bounds: Bounds) -> Theta:
        """The direction of steepest descent at theta, one unit of the threat's own geometry long.

        Zero where the gradient is. A sparse geometry spends the step on features that can still move within the bounds.
        """

    @abstractmethod
    def size(self, x: Batch, x_adv: Batch, theta: Theta | None = None) -> Float[Tensor, " b"]:
        """How large the change from x to x_adv is, in the units of `reach`; a parametric threat needs its theta."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """The largest size in the set."""

    def unbounded(self) -> "Threat":
        """The same geometry without a radius: what a minimum-norm attack searches.

        Raises InputError where the set has no radius to give up.
        """
        raise InputError(f"{type(self).__name__} has no radius, so an attack cannot minimize it. Use PGD or Square.")

    def contains(self, x: Batch, x_adv: Batch, theta: Theta | None = None) -> Bool[Tensor, " b"]:
        """Whether `x_adv` is in the set, up to rounding: 1e-6, or 1e-6 of the radius where that is more."""
        return self.admits(self.size(x, x_adv, theta))

    def admits(self, size: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Whether changes of that size are in the set, up to the same rounding."""
        return size <= self.reach + 1e-6 * max(1.0, self.reach)
