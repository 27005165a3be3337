"""A model known only by what it answers: an API, a program, another framework."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import InputError, ModelError, out_of_memory
from saddlepoint.core.model import Access, Model, checked_bounds


class CallableModel(Model):
    """A function from a batch of inputs, as a numpy array (b, *shape), to scores (b, k) or labels (b,).

    Args:
        function: the classifier; it may return an array, a tensor or nested lists.
        bounds: lowest and highest value of an input.
        returns: "logits" (any scores, higher for likelier), "probabilities" (turned into their logarithms), "labels".

    Raises:
        InputError: the function cannot be called, or `returns` is something else.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        bounds: tuple[float, float] = (0.0, 1.0),
        returns: Literal["logits", "probabilities", "labels"] = "logits",
    ) -> None:
        if not callable(function):
            raise InputError(f"CallableModel needs a function; got {function!r:.80}. Wrap a torch module in TorchModel.")
        if returns not in ("logits", "probabilities", "labels"):
            raise InputError(f"returns must be 'logits', 'probabilities' or 'labels'; got {returns!r}.")
        self.function, self.returns = function, returns
        self.bounds = checked_bounds(bounds)
        self.access = Access.LABELS if returns == "labels" else Access.SCORES

    def logits(self, x: Tensor) -> Tensor:
        self.require(Access.SCORES, "logits", "Ask for labels.")
        scores = self._call(x)
        return scores if self.returns == "logits" else log_probabilities(scores, "Say returns='logits'.")

    def labels(self, x: Tensor) -> Tensor:
        return self._call(x).long() if self.returns == "labels" else super().labels(x)

    def _call(self, x: Tensor) -> Tensor:
        try:
            answer = self.function(x.detach().cpu().numpy().copy())
        except Exception as error:
            if out_of_memory(error):
                raise
            raise ModelError(
                f"The model failed on a batch of shape {tuple(x.shape)}: {type(error).__name__}: {error}. "
                "Check that it accepts a numpy array of that shape."
            ) from error
        try:
            tensor = torch.as_tensor(np.array(answer) if not isinstance(answer, Tensor) else answer.detach())
        except (TypeError, ValueError, RuntimeError):
            raise ModelError(f"The model must return numbers; got {type(answer).__name__}. Return an array.") from None
        wanted = 1 if self.returns == "labels" else 2
        if tensor.dim() != wanted or len(tensor) != len(x):
            shape = f"({len(x)},)" if wanted == 1 else f"({len(x)}, classes)"
            raise ModelError(f"The model must return {self.returns} of shape {shape}; got {tuple(tensor.shape)}.")
        if self.returns == "labels" and (tensor.is_floating_point() or tensor.dtype is torch.bool):
            raise ModelError(f"Labels must be integers; got {tensor.dtype}. Say returns='logits' for scores.")
        return tensor.to(x.device) if self.returns == "labels" else tensor.to(x.device, x.dtype)


def log_probabilities(scores: Tensor, otherwise: str) -> Tensor:
    """Logarithms of probabilities, finite also of 0; a ModelError, with what to do otherwise, if they are none."""
    if ((scores < -1e-6) | (scores > 1 + 1e-6)).any():
        raise ModelError(
            f"Probabilities must lie in [0, 1]; got values in [{scores.min():.4g}, {scores.max():.4g}]. {otherwise}"
        )
    return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
