"""How a network is computed on a CPU: channels last, convolutions of few channels as products, ReLU in place."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import relu_
from torch.nn.parameter import is_lazy

from saddlepoint.ops.convolution import conv2d

Ask = Callable[[Tensor], Tensor]

FEW, MANY = 3, 10  # channels into a convolution, at most, and times as many out of it, at least

FRESH = {nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d}  # what they return is new, and no gradient needs it

ALIKE: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()
"""Whether a network was seen to answer alike, but for rounding, with its channels last."""


class ChannelsLast:
    """For as long as this context lasts, the weights of convolutions lie with their channels last, if the network bears it.

    Those of few channels, as the first of a network is, take the cheaper gradient of `ops.convolution` meanwhile, and ReLU
    overwrites what the module before it in an `nn.Sequential` has made. Afterwards weights lie where they lay, with the
    values that they have by then. A network that takes a `view` of what a convolution returns does not bear it: so, once
    a network, one example is asked both ways for logits and their gradient.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.offered = False
        self.before: list[tuple[nn.Parameter, Tensor]] = []
        self.eased: list[tuple[nn.Module, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def offer(self, ask: Ask, x: Tensor) -> None:
        """Decide at the first inputs (b, *shape); `ask` puts some to the network."""
        if self.offered:
            return
        self.offered = True
        if x.device.type == "cpu" and x.dim() == 4 and len(x) and torch.backends.mkldnn.is_available() and self.kernels():
            if self.net not in ALIKE:
                ALIKE[self.net] = self.alike(ask, x[:1])
            if ALIKE[self.net]:
                self.lay()

    def refused(self) -> bool:
        """Turn the weights back for good, since the network failed; whether they had been turned."""
        turned = bool(self.before)
        if turned:
            ALIKE[self.net] = False
            self.undo()
        return turned

    def kernels(self) -> list[nn.Parameter]:
        """The weights to turn: none in a network that was compiled for the way they lie."""
        modules = list(self.net.modules())
        if any(isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod") for module in modules):
            return []
        weights = [m._parameters.get("weight") for m in modules if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        return [weight for weight in dict.fromkeys(weights) if weight is not None and turnable(weight)]

    def alike(self, ask: Ask, x: Tensor) -> bool:
        """Whether logits and gradient of `x` are the same, but for rounding."""
        try:
            plain = look(ask, x)
            self.lay()
            return all(map(close, look(ask, x), plain))
        except Exception:
            return False  # what is wrong with the network itself will be wrong when it is asked
        finally:
            self.undo()

    def lay(self) -> None:
        """Turn the weights."""
        with torch.inference_mode(False), torch.no_grad():
            for weight in self.kernels():
                self.before.append((weight, weight.data))
                weight.data = weight.data.clone(memory_format=torch.channels_last)
        for module in self.net.modules():
            if of_few_channels(module):
                how = {key: getattr(module, key) for key in ("stride", "padding", "dilation")}
                self.ease(module, "_conv_forward", partial(conv2d, **how))
            elif type(module) is nn.Sequential and "forward" not in vars(module):
                self.ease(module, "forward", partial(in_turn, module))

    def ease(self, module: nn.Module, name: str, way: Callable[..., Any]) -> None:
        """Have it done that way until the weights are turned back."""
        setattr(module, name, way)
        self.eased.append((module, name))

    def undo(self) -> None:
        """Turn them back."""
        with torch.inference_mode(False), torch.no_grad():
            while self.before:
                weight, data = self.before.pop()
                weight.data = data.copy_(weight.data)
        while self.eased:
            delattr(*self.eased.pop())


def turnable(weight: nn.Parameter) -> bool:
    """Whether it is a plain tensor on the CPU."""
    return not is_lazy(weight) and type(weight.data) is Tensor and weight.device.type == "cpu" and not weight.is_inference()


def of_few_channels(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution, as torch computes it, whose gradient costs less as a product."""
    return (
        isinstance(module, nn.Conv2d)
        and "_conv_forward" not in vars(module)
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and module.groups == 1
        and isinstance(module.padding, tuple)
        and module.padding_mode == "zeros"
        and module.in_channels <= FEW
        and module.out_channels >= MANY * module.in_channels
    )


def in_turn(modules: nn.Sequential, x: Any) -> Any:
    """One after the other; ReLU in place, where it alone receives what the module before it has made."""
    before: nn.Module = modules
    for module in modules:
        alone = type(module) is nn.ReLU and type(before) in FRESH and not watched(before) and not watched(module)
        x, before = relu_(x) if alone else module(x), module
    return x


def watched(module: nn.Module) -> bool:
    """Whether hooks or a `forward` of its own may hold on to what goes through it."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks) or "forward" in vars(module)


def look(ask: Ask, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of `x`, and the gradient of their sum, zero if there is none; torch's global randomness is left alone."""
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        x = x.detach().clone().requires_grad_()
        logits = ask(x)
        gradient = torch.autograd.grad(logits.sum(), x)[0] if logits.requires_grad else torch.zeros_like(x)
        return logits.detach(), gradient


def close(turned: Tensor, plain: Tensor) -> bool:
    """Whether they differ by no more than rounding may add up to; never with NaN or infinity."""
    bound = torch.finfo(plain.dtype).eps ** 0.5 * plain.abs().max()
    return bool((turned - plain).abs().max() <= bound)
