"""Networks that look robust and are not, beside those of the gallery: variations, and plain mistakes.

Each names the lines of the audit one of which has to catch it, and the attack that was written against it by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, one_hot

import saddlepoint as sp
from saddlepoint.defenses.workshop import Workshop

SATURATED = ("cross entropy has a gradient",)
MISSING = ("gradients arrive", "cross entropy has a gradient")
MISLEADING = ("gradients point downhill",)
RANDOM = ("same answer twice",)
Adaptive = Callable[[Any], sp.Model]


@dataclass(frozen=True)
class Masked:
    """One network.

    Attributes:
        about: what hides its weakness.
        build: from a plain network to the module as it would be shipped.
        caught: lines of the audit, one of which has to fail.
        adaptive: from the plain network to a model that hides nothing; None for one that has no number.
    """

    about: str
    build: Callable[[nn.Module], nn.Module]
    caught: tuple[str, ...]
    adaptive: Adaptive | None = sp.TorchModel


class Around(nn.Module):
    """A function of a network and its input."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], net: nn.Module) -> None:
        super().__init__()
        self.function, self.net = function, net

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net, x)


class Before(nn.Module):
    """A function of an input, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class NoWayBack(torch.autograd.Function):
    """The input, with a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


class WrongWayBack(NoWayBack):
    """The input, with a gradient that has nothing to do with it."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)).to(gradient)


def around(function: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[nn.Module], nn.Module]:
    """A builder of `Around`."""
    return lambda net: Around(function, net).eval()


def before(function: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], nn.Module]:
    """A builder of a network behind a function."""
    return lambda net: nn.Sequential(Before(function), net).eval()


def straight(function: Callable[[Tensor], Tensor]) -> Adaptive:
    """Gradients straight through the function before the network."""
    return lambda net: sp.Defended(net, function)


def expected(function: Callable[[nn.Module, Tensor], Tensor]) -> Adaptive:
    """The mean of many draws."""
    return lambda net: sp.ExpectationOver(Around(function, net).eval(), 20, together=True)


def rounded(x: Tensor) -> Tensor:
    """Eight levels."""
    return (x * 7).round() / 7


def dithered(x: Tensor) -> Tensor:
    """Noise, then six levels."""
    return ((x + 0.1 * torch.randn_like(x)) * 5).round() / 5


def dropped(net: nn.Module, x: Tensor) -> Tensor:
    """A third of the pixels is gone, others every time."""
    return net(dropout(x, 0.33, True))


def noised(net: nn.Module, x: Tensor) -> Tensor:
    """Noise on the input."""
    return net(x + 0.2 * torch.randn_like(x))


def shaken(net: nn.Module, x: Tensor) -> Tensor:
    """Noise on the logits."""
    z = net(x)
    return z + 2 * torch.randn_like(z)


def company(net: nn.Module, x: Tensor) -> Tensor:
    """Logits that depend on how bright an image is among the others."""
    z = net(x)
    return z + 20 * (x.mean((1, 2, 3)) - x.mean())[:, None] * torch.arange(z.shape[1]).to(z)


def treacherous(net: nn.Module, x: Tensor) -> Tensor:
    """NaN for images with many gray pixels, as noise and attacks make them."""
    gray = ((x - x.round()).abs() > 0.05).flatten(1).float().mean(1)
    z = net(x)
    return torch.where((gray > 0.35)[:, None], torch.nan, z)


def dice(net: nn.Module, x: Tensor) -> Tensor:
    """An answer without any connection to the question, another one every time."""
    return torch.randn_like(net(x))


MASKED = {
    "logits-1000": Masked("logits times 1000", around(lambda net, x: 1000 * net(x)), SATURATED),
    "probabilities-50": Masked("softmax of 50 x logits", around(lambda net, x: (50 * net(x)).softmax(1)), SATURATED),
    "rounded-input": Masked(
        "rounds its input where no module tells", around(lambda net, x: net(rounded(x))), MISSING, straight(rounded)
    ),
    "rounded-first": Masked("a rounding module in front", before(rounded), MISSING, straight(rounded)),
    "rounded-logits": Masked("logits rounded to integers", around(lambda net, x: net(x).round()), MISSING),
    "one-hot": Masked("returns its answer alone", around(lambda net, x: one_hot(net(x).argmax(1), 10).float()), MISSING),
    "detached": Masked("a module in front that cuts the graph", before(lambda x: x.detach() * 1.0), MISSING),
    "no-way-back": Masked("a function in front whose backward is zero", before(NoWayBack.apply), MISSING),
    "wrong-way-back": Masked("a function in front whose backward is noise", before(WrongWayBack.apply), MISLEADING),
    "noisy-input": Masked("noise on the input", around(noised), RANDOM, expected(noised)),
    "noisy-logits": Masked("noise on the logits", around(shaken), RANDOM),
    "dropped-pixels": Masked("a third of the pixels dropped", around(dropped), RANDOM, expected(dropped)),
    "dithered": Masked(
        "noise, then rounding", before(dithered), RANDOM,
        lambda net: sp.ExpectationOver(sp.Defended(net, dithered), 20, together=True),
    ),
    "in-company": Masked("answers that depend on the batch", around(company), ("independent rows",)),
    "treacherous": Masked("NaN for gray images", around(treacherous), ("finite answers",), None),
    "dice": Masked("random answers", around(dice), RANDOM, None),
}  # fmt: skip


def shipped(name: str, workshop: Workshop) -> nn.Module:
    """The network of that name around a plain one of the workshop."""
    return MASKED[name].build(workshop.plain())
