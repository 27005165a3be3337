"""A network some parts of which let gradients through as if they were something else: BPDA inside the network."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saddlepoint.core.errors import InputError
from saddlepoint.models.parts import Instead, Part, Wrapped
from saddlepoint.models.torch import TorchModel

ROUNDING = {
    name: (getattr(torch, name, None), getattr(Tensor, name, None)) for name in ("round", "floor", "ceil", "trunc", "sign")
}
CUTTING = (Tensor.detach, torch.detach)
COMPARING = {torch.gt, torch.ge, Tensor.gt, Tensor.ge, Tensor.__gt__, Tensor.__ge__}
COMPARING_BELOW = {torch.lt, torch.le, Tensor.lt, Tensor.le, Tensor.__lt__, Tensor.__le__}
NUMBERING = {Tensor.float, Tensor.double, Tensor.to, Tensor.type, Tensor.type_as}


class StraightThrough(Wrapped):
    """A torch network whose answers are its own, and whose gradient goes straight through what would stop it.

    Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons", 2013; as an attack:
    Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018. `Defended` does this for a
    preprocessing that is at hand; this class does it for a part inside a finished network, found by its name.

    Args:
        model: the network.
        modules: from names as `net.named_modules()` has them to "identity", or to a function to be differentiated in the
            module's place; its output has the shape of the module's.
        operations: let gradients through rounding, signs, comparisons that become numbers, and `detach`, wherever the
            network calls them.

    Raises:
        InputError: there is no such module; or, at the first gradient, the stand-in has another shape.
    """

    def __init__(
        self,
        model: TorchModel,
        modules: Mapping[str, Any] | None = None,
        *,
        operations: bool = False,
    ) -> None:
        if not isinstance(model, TorchModel):
            raise InputError(f"StraightThrough needs a TorchModel; got {type(model).__name__}. Wrap the network in one.")
        known = dict(model.net.named_modules())
        for name in modules or {}:
            if name not in known:
                raise InputError(
                    f"There is no module {name!r} in {type(model.net).__name__}. It has {', '.join(known)[:300]}."
                )
        self.model, self.operations = model, operations
        self.stand_ins: dict[nn.Module, Part | None] = {
            known[name]: None if way == "identity" else Part(f"the stand-in of {name}", way)
            for name, way in (modules or {}).items()
        }
        super().__init__(model, *[part for part in self.stand_ins.values() if part is not None])
        self.bounds = model.bounds

    def logits(self, x: Tensor) -> Tensor:
        if not (x.requires_grad and torch.is_grad_enabled()):
            return self.model.logits(x)
        with self.hooked(), _LettingThrough() if self.operations else nullcontext():
            return self.model.logits(x)

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(x)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Entered around a forward pass of the network whose gradient is to go through."""
        with ExitStack() as stack:
            for module, part in self.stand_ins.items():
                stack.callback(module.register_forward_hook(_through(part)).remove)
            yield


def _through(part: Part | None) -> Callable[..., Any]:
    """A hook that replaces the gradient of a module's output."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not args or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            return None
        with torch.enable_grad():  # the module may be called where gradients are off
            stand_in = args[0] if part is None else part(args[0])
            if stand_in.shape != output.shape:
                raise InputError(
                    f"{type(module).__name__} turns {tuple(args[0].shape)} into {tuple(output.shape)} and its stand-in into "
                    f"{tuple(stand_in.shape)}. Give a differentiable function with the shape of the module."
                )
            return Instead.apply(output.detach(), stand_in.to(output.dtype))

    return hook


class _LettingThrough(TorchFunctionMode):
    """Gives gradients to functions that have none, as long as it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: dict[int, tuple[Tensor, Tensor]] = {}  # by identity: the answer, kept alive, and what was compared

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        first = args[0] if args else None
        if not isinstance(first, Tensor) or not isinstance(out, Tensor):
            return out
        if function in NUMBERING and id(first) in self.compared and out.is_floating_point():
            return Instead.apply(out, self.compared[id(first)][1].to(out.dtype).expand(out.shape))
        if not first.requires_grad or not torch.is_grad_enabled():
            return out
        if function in CUTTING or any(function in both for both in ROUNDING.values()):
            return Instead.apply(out.detach(), first)
        if function in COMPARING | COMPARING_BELOW and len(args) > 1:
            sign = 1.0 if function in COMPARING else -1.0
            self.compared[id(out)] = out, (sign * (first - args[1])).clamp(-1, 1)
        return out
