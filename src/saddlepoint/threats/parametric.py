"""Threats of a few named parameters instead of one change a feature: a new physical transformation is one `apply`."""

from abc import abstractmethod
from dataclasses import fields
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from torch import Tensor

from saddlepoint.core.config import number
from saddlepoint.core.errors import InputError
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Batch, Bounds, Threat

Amount = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(number)]
Limit = Annotated[Amount, Field(ge=0)]


class Parametric(Threat):
    """All results of a transformation whose parameters are each within a limit of its own.

    Theta (b, *parameters) holds them as shares of their limits, each in [-1, 1], so that one step size suits all; the size
    of a change is the largest share. What a transformation makes is clipped to the bounds of the model.
    """

    parametric: ClassVar[bool] = True

    @abstractmethod
    def parameters(self, x: Batch) -> tuple[int, ...]:
        """Shape of one row's theta.

        Raises InputError where such inputs cannot be transformed.
        """

    @property
    def name(self) -> str:
        values = (shortest(getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]  # subclasses are records
        return f"{type(self).__name__.lower()}:{','.join(values)}"

    @property
    def reach(self) -> float:
        return 1.0

    def zero(self, x: Batch) -> Tensor:
        return x.new_zeros(len(x), *self.parameters(x))

    def start(self, x: Batch, noise: Noise, bounds: Bounds) -> Tensor:
        return 2 * noise.uniform(*self.parameters(x), dtype=x.dtype) - 1

    def project(self, x: Batch, theta: Tensor, bounds: Bounds) -> Tensor:
        return theta.clamp(-1, 1)

    def steepest(self, x: Batch, theta: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
        return -gradient.sign()

    def size(self, x: Batch, x_adv: Batch, theta: Tensor | None = None) -> Tensor:
        if theta is None:
            raise InputError(
                f"The size of a change by {type(self).__name__} cannot be read off its result. Give result.theta as well."
            )
        return theta.abs().flatten(1).amax(1)

    def roughness(self, x: Batch, theta: Tensor) -> Tensor:
        """(b,) how much the change differs from each pixel to the next; zero where all pixels change by one rule."""
        return 0 * theta.flatten(1).sum(1)


def shortest(value: float | int) -> str:
    """The shortest text that is read as exactly that number."""
    short = f"{value:.6g}"
    return short if float(short) == value else repr(value)


def image_shape(threat: Threat, x: Batch) -> tuple[int, int, int]:
    """(c, h, w) of a batch of images, or InputError."""
    if x.dim() != 4:
        raise InputError(
            f"{type(threat).__name__} transforms images (c, h, w); got inputs of shape {tuple(x.shape[1:])}. "
            "Use a ball, as in linf:0.1, for other inputs."
        )
    return x.shape[1], x.shape[2], x.shape[3]
