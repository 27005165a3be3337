"""What models that wrap models share: how their parts are called, counted as one, and put back as they were."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import InputError, ModelError, SaddlepointError, out_of_memory
from saddlepoint.core.model import Model
from saddlepoint.models.torch import TorchModel
from saddlepoint.ops.losses import unanswered

OPEN = -2  # a vote that was not asked for


class Part:
    """A function of a batch inside a model; a torch module runs in evaluation mode and is restored like a network.

    Args:
        name: the argument it was given as, for errors.
        function: from (b, *shape), and whatever else it is called with, to (b, *other).

    Raises:
        InputError: it cannot be called.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        if not callable(function) or isinstance(function, type):
            made = f"Write {function.__name__}()." if isinstance(function, type) else "Give a function (b, *shape) -> batch."
            raise InputError(f"{name} must be a function or a torch module; got {function!r:.80}. {made}")
        self.name, self.function = name, function
        self.kept = TorchModel(function) if isinstance(function, nn.Module) else None

    def __call__(self, x: Tensor, *more: Any) -> Tensor:
        dtype = x.dtype if self.kept is None or self.kept.dtype is None else self.kept.dtype
        try:
            y = self.function(x.to(dtype, copy=True), *more)  # it may overwrite its input
        except Exception as error:
            if out_of_memory(error) or isinstance(error, SaddlepointError):
                raise
            raise ModelError(
                f"{self.name} failed on a batch of shape {tuple(x.shape)}: {type(error).__name__}: {error}. "
                "Check that it accepts such a batch."
            ) from error
        if not isinstance(y, Tensor) or not y.is_floating_point() or y.dim() < 2 or len(y) != len(x):
            got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise ModelError(
                f"{self.name} must return a tensor of {len(x)} floating-point rows, one an input; got {got}. "
                "Return a batch of the same length."
            )
        return y.to(x.device, x.dtype)

    def session(self) -> AbstractContextManager[Any]:
        """As of a model."""
        return nullcontext() if self.kept is None else self.kept.session()


class Wrapped(Model):
    """A model around models: within a session, all of them are in theirs."""

    def __init__(self, *inside: Model | Part) -> None:
        self.inside = inside
        models = [part for part in inside if isinstance(part, Model)]
        self.access = min(model.access for model in models)
        self.device = next((model.device for model in models if model.device is not None), None)
        self.rejection = models[0].rejection

    @contextmanager
    def session(self) -> Iterator["Wrapped"]:
        with ExitStack() as stack:
            for part in self.inside:
                stack.enter_context(part.session())
            yield self


class Instead(torch.autograd.Function):
    """The first input, to the last bit, with the gradient of the second."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, stand_in: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def averaged(logits: Tensor, weights: Tensor, over: str) -> Tensor:
    """The mean (b, k) of (m, b, k) with weights (m,) that sum to one: of logits, or, as its logarithm, of probabilities."""
    weights = weights.to(logits)[:, None, None]
    if over == "logits":
        return (weights * logits).sum(0)
    return (logits.log_softmax(-1) + weights.log()).logsumexp(0)


def elected(labels: Tensor, weights: Tensor) -> Tensor:
    """The answer (b,) with most votes in (m, b), the lowest among equals; -1 where one voter has no answer.

    Voters who were not asked, OPEN, do not count.
    """
    return tally(labels, weights).argmax(1).masked_fill(((labels < 0) & (labels != OPEN)).any(0), -1)


def tally(labels: Tensor, weights: Tensor) -> Tensor:
    """The votes (b, k) for each answer in (m, b), k at least 2; labels below zero are no votes."""
    votes = weights.to(labels.device)[:, None] * (labels >= 0)
    counts = votes.new_zeros(max(2, int(labels.max()) + 1) if labels.numel() else 2, labels.shape[1])
    return counts.scatter_add(0, labels.clamp_min(0), votes).T


def answered(logits: Tensor) -> Tensor:
    """The largest logit of each row, as `Model.labels` has it."""
    return logits.argmax(1).masked_fill(unanswered(logits), -1)


def chosen(over: str | None, least: str, labels_only: bool) -> str:
    """What to average: as asked, by default logits, or votes where `least` gives no scores."""
    over = over or ("votes" if labels_only else "logits")
    if over not in ("logits", "probabilities", "votes"):
        raise InputError(f"over must be 'logits', 'probabilities' or 'votes'; got {over!r}. Leave it out for the default.")
    if labels_only and over != "votes":
        raise InputError(f"over must be 'votes', since {least} gives labels only; got {over!r}. Leave it out.")
    return over
