"""Any torch module as a white-box model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import InputError, ModelError, out_of_memory
from saddlepoint.core.model import Access, Model, checked_bounds
from saddlepoint.models.layout import ChannelsLast


class TorchModel(Model):
    """A torch module of inputs within `bounds`; normalization happens inside, so radii are in the input's own units.

    The module may return logits, a tuple or list that starts with them, a mapping that has them under "logits", or a
    Hugging Face ModelOutput. It runs in evaluation mode; modes, buffers, gradients and `requires_grad` are afterwards
    as they were, also when something fails half-way. On a CPU the weights of its convolutions meanwhile lie with their
    channels last, which costs less and changes answers by rounding; the first time, two more passes of one example see
    whether the network bears it.

    Args:
        net: the module, on any device.
        bounds: lowest and highest value of an input.
        mean: subtracted, one number or one a channel.
        std: divided by, one number or one a channel, above zero.

    Raises:
        InputError: `net` is not a module, or bounds, mean or std make no sense.
    """

    access = Access.GRADIENTS

    def __init__(
        self,
        net: nn.Module,
        bounds: tuple[float, float] = (0.0, 1.0),
        mean: float | Sequence[float] | Tensor | None = None,
        std: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        if not isinstance(net, nn.Module):
            made = f" Write {net.__name__}()." if isinstance(net, type) else " Wrap a function in CallableModel."
            raise InputError(f"TorchModel needs a torch.nn.Module; got {net!r:.80}.{made}")
        self.net = net
        self.bounds = checked_bounds(bounds)
        self.mean = None if mean is None else _channels("mean", mean)
        self.std = None if std is None else _channels("std", std)
        if self.std is not None and not (self.std > 0).all():
            raise InputError(f"std must be above zero; got {self.std.tolist()}. Give the spread of every channel.")
        tensors = [*net.parameters(), *net.buffers()]
        floating = [t for t in tensors if t.is_floating_point()]
        self.device = tensors[0].device if tensors else None
        self.dtype = floating[0].dtype if floating else None
        self.layout: ChannelsLast | None = None

    def logits(self, x: Tensor) -> Tensor:
        if self.layout is None:
            return self.ask(x)
        self.layout.offer(self.ask, x)
        try:
            return self.ask(x)
        except ModelError:
            if not self.layout.refused():
                raise
            return self.ask(x)

    def ask(self, x: Tensor) -> Tensor:
        """The logits, with the weights as they lie now."""
        z = x.clone() if self.dtype in (None, x.dtype) else x.to(self.dtype)  # the network may overwrite its input
        if self.mean is not None:
            z = z - _shaped(self.mean, z)
        if self.std is not None:
            z = z / _shaped(self.std, z)
        try:
            output = self.net(z)
        except Exception as error:
            if out_of_memory(error):
                raise
            raise ModelError(
                f"The model failed on a batch of shape {tuple(x.shape)}: {type(error).__name__}: {error}. "
                "Check that the examples have the shape the model was made for."
            ) from error
        return logits_of(output)

    @contextmanager
    def session(self) -> Iterator["TorchModel"]:
        modes = {module: module.training for module in self.net.modules()}
        wanted = {p: p.requires_grad for p in self.net.parameters()}
        gradients = {p: p.grad for p in wanted}
        buffers = [(m, k, b, None if b is None else b.clone()) for m in self.net.modules() for k, b in m._buffers.items()]
        try:
            self.net.eval()
            for parameter in wanted:
                parameter.requires_grad_(False)
            with self.laid_out():
                yield self
        finally:
            for module, training in modes.items():
                module.training = training
            for parameter, needs in wanted.items():
                parameter.requires_grad_(needs)
                parameter.grad = gradients[parameter]
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    module._buffers[name] = buffer if buffer is None else buffer.copy_(value)

    @contextmanager
    def laid_out(self) -> Iterator[ChannelsLast]:
        """One layout for as long as the outermost such context lasts."""
        if self.layout is not None:
            yield self.layout
            return
        try:
            with ChannelsLast(self.net) as self.layout:
                yield self.layout
        finally:
            self.layout = None


def _channels(name: str, value: Any) -> Tensor:
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be a number or one a channel; got {value!r}.") from None
    if not numbers.isfinite().all():
        raise InputError(f"{name} must be finite; got {value!r}. Give the statistics of the training data.")
    return numbers


def _shaped(numbers: Tensor, x: Tensor) -> Tensor:
    if len(numbers) not in (1, x.shape[1]):
        raise InputError(
            f"mean and std must have one number, or one for each of {x.shape[1]} channels; got {len(numbers)}. "
            f"The examples have shape {tuple(x.shape[1:])}."
        )
    return numbers.to(x).view(-1, *(1,) * (x.dim() - 2))


def logits_of(output: Any) -> Tensor:
    """The logits in whatever a module returned."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    keys = f" with keys {list(output)}" if isinstance(output, Mapping) else ""
    raise ModelError(
        f"The model returned {type(output).__name__}{keys}; expected logits, or a tuple or mapping that has them. "
        "Wrap the network so that it returns its logits."
    )
