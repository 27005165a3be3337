"""Models whose nearest adversarial input is known in closed form, and models built to be awkward.

Sums run row by row, never through a matrix product, so that an answer cannot depend on the rest of the batch.
"""

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from saddlepoint.core.config import Radius, positional_record
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Batch, Threat
from saddlepoint.threats import L0, L1, L2, Linf, Parametric


@positional_record
class Plane(Parametric):
    """Two fixed directions in which all features move alike: the parametric threat whose exact distances are known.

    Attributes:
        eps: how far the features move, at most, along each.
    """

    eps: Radius

    def parameters(self, x: Batch) -> tuple[int, ...]:
        return (2,)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        move = (theta[:, :, None] * directions(math.prod(x.shape[1:])).to(x)).sum(1)
        return x + self.eps * move.view_as(x)


def directions(features: int) -> Tensor:
    """(2, features) of signs."""
    return Noise(9, torch.zeros(1, dtype=torch.int64)).sign(2, features, dtype=torch.float64)[0]


class Oracle(Model):
    """A model that counts the rows it is asked about, and hides nothing that an attack could leave behind.

    Args:
        shape: of one input.
        classes: 2 or more.
        scale: factor on the logits.
        shift: added to all logits.
        access: what it lets attacks see.

    Attributes:
        asked: rows answered so far.
    """

    bounds = (0.0, 1.0)

    def __init__(
        self,
        shape: tuple[int, ...] = (1, 4, 4),
        classes: int = 3,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
        access: Access = Access.GRADIENTS,
    ) -> None:
        self.shape, self.classes, self.scale, self.shift, self.access = shape, classes, scale, shift, access
        self.asked = 0
        self.parameters: list[nn.Parameter] = []
        self.make(math.prod(shape), classes)

    def make(self, features: int, classes: int) -> None:
        """Parameters, the same every time."""

    def logits(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return self.answer(x)

    @abstractmethod
    def answer(self, x: Tensor) -> Tensor:
        """Logits, not counted."""


class HalfSpace(Oracle):
    """Class 0 on one side of a hyperplane, class 1 on the other, and k - 2 classes that never win."""

    def make(self, features: int, classes: int) -> None:
        weight = Noise(5, torch.zeros(1, dtype=torch.int64)).normal(features, dtype=torch.float64)[0]
        self.weight = nn.Parameter(weight + 0.5 * weight.sign())  # no feature is nearly blind
        self.parameters = [self.weight]

    def answer(self, x: Tensor) -> Tensor:
        side = ((x.flatten(1) - 0.5) * self.weight.to(x.dtype)).sum(1, keepdim=True)
        never = -8 - torch.arange(self.classes - 2, dtype=x.dtype, device=x.device)
        logits = torch.cat([side, -side, never.expand(len(x), -1)], dim=1)
        return logits * self.scale + self.shift

    def inputs(self, n: int, distance: float, dtype: torch.dtype = torch.float32, norm: type[Threat] = L2) -> Tensor:
        """n inputs of class 0, all at that distance from the plane in that norm, in the middle of the box."""
        w = self.weight.detach()
        direction = Noise(6, torch.arange(n)).normal(len(w), dtype=torch.float64)
        direction = direction - ((direction * w).sum(1) / w.square().sum())[:, None] * w
        at = (
            0.5
            + 0.02 * direction / direction.norm(dim=1, keepdim=True)
            + distance * dual_norm(w, norm) * w / w.square().sum()
        )
        return at.to(dtype).view(n, *self.shape)

    def pixels_needed(self, x: Tensor) -> Tensor:
        """(n,) exact L0 distance within the box: features in the order of what they can gain."""
        w = self.weight.detach().double()
        at = x.flatten(1).double()
        gain = torch.where(w > 0, at * w, (at - 1) * w).sort(dim=1, descending=True).values
        side = ((at - 0.5) * w).sum(1, keepdim=True)
        return ((gain.cumsum(1) <= side).sum(1) + 1).double()


def dual_norm(w: Tensor, norm: type[Threat]) -> Tensor:
    """The norm of w that divides a margin into a distance."""
    if norm is Linf:
        return w.abs().sum()
    if norm is L1:
        return w.abs().max()
    if norm is Plane:
        return (directions(len(w)) * w).sum(1).abs().sum()
    return w.norm()


class Wavy(Oracle):
    """A smooth nonlinear model, without known distances, for laws about invariance and containment."""

    def make(self, features: int, classes: int) -> None:
        noise = Noise(7, torch.zeros(1, dtype=torch.int64))
        self.first = nn.Parameter(noise.normal(12, features, dtype=torch.float64)[0])
        self.second = nn.Parameter(noise.normal(classes, 12, dtype=torch.float64)[0])
        self.parameters = [self.first, self.second]

    def answer(self, x: Tensor) -> Tensor:
        hidden = ((x.flatten(1) - 0.5)[:, None] * self.first.to(x.dtype)).sum(2).tanh()
        return (hidden[:, None] * self.second.to(x.dtype)).sum(2) * self.scale + self.shift

    def inputs(self, n: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """n inputs with the labels that the model gives them."""
        x = (0.25 + 0.5 * Noise(8, torch.arange(n)).uniform(*self.shape, dtype=torch.float64)).to(dtype)
        return x, self.answer(x).argmax(1)


class Constant(Oracle):
    """Always class 0, with a gradient that is exactly zero."""

    def answer(self, x: Tensor) -> Tensor:
        zero = (x.flatten(1) * 0).sum(1, keepdim=True)
        return torch.cat([zero + 1, zero, zero - 1], dim=1)


class Shattered(Wavy):
    """The wavy model behind a staircase, whose gradient is zero almost everywhere."""

    def answer(self, x: Tensor) -> Tensor:
        return super().answer(x * 0 + (x.detach() * 8).round() / 8)


class Broken(HalfSpace):
    """A half-space that answers NaN on its far side."""

    def answer(self, x: Tensor) -> Tensor:
        logits = super().answer(x)
        return torch.where(logits[:, :1] < 0, torch.nan, logits)


def exact_distance(threat: type[Threat], model: HalfSpace, x: Tensor) -> Tensor:
    """(n,) distance of x from the plane."""
    if threat is L0:
        return model.pixels_needed(x)
    side = ((x.flatten(1).double() - 0.5) * model.weight.detach()).sum(1)
    return side / dual_norm(model.weight.detach(), threat)
