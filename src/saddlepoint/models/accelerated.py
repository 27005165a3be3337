"""A network made faster to search on, by means that change its answers by rounding; the network itself has the last word."""

import copy
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.core.play import as_model
from saddlepoint.core.registry import did_you_mean
from saddlepoint.models.guided import Judged
from saddlepoint.models.parts import Instead
from saddlepoint.models.torch import TorchModel, logits_of

CLOSE = {"bf16": 0.05}
"""The lead of the likeliest class, as a share of the spread of the logits, below which a row is asked again."""
ROUNDING = 1e-5  # the same for the other means, which compute in the network's own precision


class Accelerated(Judged):
    """A torch network, and a copy of it that is faster to search on.

    Attacks take scores and gradients of the copy; rows that the copy finds nearly undecided are asked of the network itself,
    and so is everything found. So no success rests on the copy. But a search on rounded gradients may miss some: bfloat16 is
    not neutral to strength (docs/models.md has figures), the other means are, but for rounding.

    Args:
        model: a TorchModel, or a torch module of inputs in [0, 1]. It is copied; later changes to it are not seen.
        means: at least one of MEANS: "fold", "channels-last", "bf16", "compile".

    Raises:
        InputError: not a torch network, not one of the means, or the network cannot be copied or folded.
    """

    def __init__(self, model: Any, *means: str) -> None:
        exact = as_model(model)
        if not isinstance(exact, TorchModel):
            raise InputError(f"Only a torch network can be made faster; got {type(exact).__name__}. Attack it as it is.")
        for name in means:
            if name not in MEANS:
                raise InputError(f"There is no {name!r}.{did_you_mean(name, MEANS)} There are: {', '.join(MEANS)}.")
        if not means:
            raise InputError(f"Accelerated needs at least one of {', '.join(MEANS)}. Name one.")
        self.means = tuple(name for name in MEANS if name in means)
        try:
            net = copy.deepcopy(exact.net).eval()
        except (RuntimeError, TypeError) as error:
            raise InputError(f"{type(exact.net).__name__} cannot be copied ({error}). Attack it as it is.") from error
        for name in self.means:
            net = MEANS[name](net)
        super().__init__(TorchModel(net, exact.bounds, exact.mean, exact.std), exact)
        self.close = max(CLOSE.get(name, ROUNDING) for name in self.means)

    def logits(self, x: Tensor) -> Tensor:
        found = checked_logits(self.search.logits, x)
        with torch.no_grad():
            lead, spread = found.topk(2).values, found.amax(1) - found.amin(1)
            # also rows without an answer, whose comparison is never true
            undecided = (~(lead[:, 0] - lead[:, 1] > self.close * spread)).nonzero().squeeze(1)
            if not len(undecided):
                return found
            answer = found.index_put((undecided,), checked_logits(self.judge.logits, x[undecided]))
        return Instead.apply(answer, found)


class Cast(nn.Module):
    """Convolutions and products in bfloat16, not neutral to strength; the logits are single again."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return logits_of(self.net(x)).float()


class ChannelsLast(nn.Module):
    """The memory layout (b, h, w, c), which convolutions prefer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Any:
        return self.net(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)


def folded(net: nn.Module) -> nn.Module:
    """Batch normalization becomes part of the convolution before it."""
    from torch.fx.experimental.optimization import fuse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = fuse(net)
    except Exception as error:  # tracing runs the network's own code
        reason = (str(error).splitlines() or [""])[0][:120]
        raise InputError(
            f"{type(net).__name__} cannot be folded, since torch.fx cannot trace it ({reason}). Leave out 'fold'."
        ) from error
    return made


class Compiled(nn.Module):
    """Code generated for the network by `torch.compile`: for long runs of large networks, since it takes minutes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        on_cpu = all(p.device.type == "cpu" for p in net.parameters())
        if on_cpu and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
            raise InputError("torch.compile needs a C++ compiler, and there is no g++. Install it, or leave out 'compile'.")
        self.net = torch.compile(net, dynamic=True)

    def forward(self, x: Tensor) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")  # dynamo looks
            return self.net(x)


MEANS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fold": folded,
    "channels-last": ChannelsLast,
    "bf16": Cast,
    "compile": Compiled,
}
"""In the order in which they are applied."""
