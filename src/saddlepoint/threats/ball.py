"""Norm balls around the clean input. Theta is the additive change delta, of the input's own shape."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import field_validator
from torch import Tensor

from saddlepoint.core.config import Radius, positional_record
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Batch, Bounds, Threat
from saddlepoint.ops import norms, projections


class Ball(Threat):
    """All x + delta with a norm of delta of at most `eps`."""

    eps: float
    norm: ClassVar[Callable[[Tensor], Tensor]]
    nearest: ClassVar[Callable[[Tensor, float, Tensor, Tensor], Tensor]]

    @classmethod
    def unbounded(cls) -> "Ball":
        """The norm without a radius."""
        return cls(math.inf)  # type: ignore[call-arg]  # the records below have the field

    @property
    def reach(self) -> float:
        return self.eps

    @property
    def name(self) -> str:
        return type(self).__name__.lower() + ("" if math.isinf(self.eps) else f":{self.eps:.6g}")

    def zero(self, x: Batch) -> Tensor:
        return torch.zeros_like(x)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        return x + theta

    def project(self, x: Batch, theta: Tensor, bounds: Bounds) -> Tensor:
        return type(self).nearest(theta, self.eps, bounds[0] - x, bounds[1] - x)

    def size(self, x: Batch, x_adv: Batch, theta: Tensor | None = None) -> Tensor:
        return type(self).norm(x_adv - x)

    def start(self, x: Batch, noise: Noise, bounds: Bounds) -> Tensor:
        width = bounds[1] - bounds[0]
        theta = self.uniform(x, noise, min(self.eps, self.diameter(x) * width), width)
        return self.project(x, theta, bounds)

    @abstractmethod
    def uniform(self, x: Batch, noise: Noise, radius: float, width: float) -> Tensor:
        """A point uniform in the ball of `radius`, before the box is known."""

    @abstractmethod
    def diameter(self, x: Batch) -> float:
        """The norm of the all-ones change: no change inside a box of width one is larger."""


@positional_record
class Linf(Ball):
    """Every feature may move by at most `eps`, in the units of the input.

    Attributes:
        eps: radius; text such as "8/255" is read.
    """

    eps: Radius
    norm: ClassVar[Callable[[Tensor], Tensor]] = norms.linf
    nearest: ClassVar[Callable[[Tensor, float, Tensor, Tensor], Tensor]] = projections.onto_linf

    def uniform(self, x: Batch, noise: Noise, radius: float, width: float) -> Tensor:
        return (2 * noise.uniform(*x.shape[1:], dtype=x.dtype) - 1) * radius

    def diameter(self, x: Batch) -> float:
        return 1.0

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        return -gradient.sign()


@positional_record
class L2(Ball):
    """The Euclidean length of the change is at most `eps`.

    Attributes:
        eps: radius.
    """

    eps: Radius
    norm: ClassVar[Callable[[Tensor], Tensor]] = norms.l2
    nearest: ClassVar[Callable[[Tensor, float, Tensor, Tensor], Tensor]] = projections.onto_l2

    def uniform(self, x: Batch, noise: Noise, radius: float, width: float) -> Tensor:
        direction = noise.normal(*x.shape[1:], dtype=x.dtype)
        length = radius * noise.uniform(1, dtype=x.dtype)[:, 0] ** (1 / x[0].numel() if len(x) else 1)
        return norms.unit(direction, norms.l2(direction)) * norms.expand_as(length, x)

    def diameter(self, x: Batch) -> float:
        return math.sqrt(math.prod(x.shape[1:]))

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        return -norms.unit(gradient, norms.l2(gradient))


@positional_record
class L1(Ball):
    """The absolute changes sum to at most `eps`.

    The steepest step is shared by the hundredth of the features with the largest gradients, not taken by one alone
    (sparse L1 descent: Tramer and Boneh, "Adversarial training and robustness for multiple perturbations", 2019).

    Attributes:
        eps: radius.
    """

    eps: Radius
    norm: ClassVar[Callable[[Tensor], Tensor]] = norms.l1
    nearest: ClassVar[Callable[[Tensor, float, Tensor, Tensor], Tensor]] = projections.onto_l1

    def uniform(self, x: Batch, noise: Noise, radius: float, width: float) -> Tensor:
        features = x[0].numel() if len(x) else 1
        exponential = -(1 - noise.uniform(features + 1, dtype=x.dtype)).log()
        part = exponential[:, :features] / exponential.sum(dim=1, keepdim=True)
        return radius * part.view_as(x) * noise.sign(*x.shape[1:], dtype=x.dtype)

    def diameter(self, x: Batch) -> float:
        return float(math.prod(x.shape[1:]))

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        gradient = movable(gradient, x + theta, bounds)
        size = gradient.abs().flatten(1)
        few = size >= size.topk(math.ceil(size.shape[1] / 100), dim=1).values[:, -1:]
        step = gradient.sign() * few.view_as(gradient)
        return -norms.unit(step, norms.l1(step))


@positional_record
class L0(Ball):
    """At most `eps` pixels may change, to anything in bounds.

    A pixel of a (c, h, w) image changes when any channel of it does; inputs of other shapes count features.

    Attributes:
        eps: number of pixels, a whole number.
    """

    eps: Radius
    norm: ClassVar[Callable[[Tensor], Tensor]] = norms.l0
    nearest: ClassVar[Callable[[Tensor, float, Tensor, Tensor], Tensor]] = projections.onto_l0

    @field_validator("eps")
    @classmethod
    def _whole(cls, eps: float) -> float:
        if eps != math.inf and eps != int(eps):
            raise ValueError("a whole number of pixels")
        return eps

    def uniform(self, x: Batch, noise: Noise, radius: float, width: float) -> Tensor:
        change = (2 * noise.uniform(*x.shape[1:], dtype=x.dtype) - 1) * width
        grid = norms.pixels(change)
        order = noise.uniform(grid.shape[2], dtype=x.dtype)
        chosen = order.argsort(dim=1).argsort(dim=1) < int(radius)
        return (grid * chosen[:, None]).view_as(x)

    def diameter(self, x: Batch) -> float:
        return float(math.prod(x.shape[-2:]) if x.dim() == 4 else math.prod(x.shape[1:]))

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        gradient = movable(gradient, x + theta, bounds)
        return -norms.unit(gradient, norms.linf(gradient))


def movable(gradient: Tensor, at: Tensor, bounds: Bounds) -> Tensor:
    """The gradient without the features whose descent the bounds forbid."""
    low, high = bounds
    return gradient.masked_fill(((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0)), 0)
