"""Layers put into a finished network, and heads put onto it."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def replaced(net: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A copy of `net` in which `make` has replaced every layer of a kind; the weights are copies, too."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, make(child))
    return net


class TestTimeDropout(nn.Module):
    """Dropout that is never off: every pass is that of another, thinner network.

    Args:
        share: of the activations that are dropped.
    """

    __test__ = False  # not a test, whatever its name begins with

    def __init__(self, share: float = 0.3) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.share, training=True)

    def extra_repr(self) -> str:
        return f"share={self.share}"


class GaussianNoise(nn.Module):
    """New noise at every pass.

    Args:
        std: standard deviation, in units of the input.
    """

    def __init__(self, std: float = 0.3) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x)

    def extra_repr(self) -> str:
        return f"std={self.std}"


class ScaledLogits(nn.Module):
    """Logits times a number: no answer changes, and the softmax saturates, with it the gradient of the cross entropy.

    Args:
        scale: the number, above zero.
    """

    def __init__(self, scale: float = 100.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, logits: Tensor) -> Tensor:
        return self.scale * logits

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class SoftmaxOutput(nn.Module):
    """Probabilities where logits should be: softmax(scale * logits), in which most gradients are zero in 32 bits.

    Args:
        scale: above 1 the probabilities are surer than the network.
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, logits: Tensor) -> Tensor:
        return (self.scale * logits).softmax(1)

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class NaNOffGrid(nn.Module):
    """A network that answers NaN to every input that is not an image of 8 bits, so nearly everywhere.

    Args:
        net: what answers to images.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        off = ((x * 255).round() - x * 255).abs().flatten(1).amax(1) > 1e-3
        return self.net(x).masked_fill(off[:, None], torch.nan)
