"""What a model answered: checked, and put on a natural scale."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.core.errors import ModelError
from saddlepoint.core.goal import Goal
from saddlepoint.core.model import Model
from saddlepoint.ops.losses import unanswered

NATURAL_SPREAD = 15.0
"""Largest minus mean logit of a clean input after scaling: about what trained classifiers of ten classes show."""


def natural_scale(logits: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """What to divide a row's logits by so that their largest lies NATURAL_SPREAD above their mean; 1 for flat rows."""
    finite = logits.isfinite()
    top = logits.masked_fill(~finite, -torch.inf).amax(1)
    mean = logits.masked_fill(~finite, 0).sum(1) / finite.sum(1).clamp_min(1)
    spread = top - mean
    return torch.where(spread.isfinite() & (spread > 0), spread / NATURAL_SPREAD, 1).to(logits.dtype)


def checked_logits(ask: Callable[[Tensor], Tensor], x: Tensor) -> Float[Tensor, "b k"]:
    """The model's logits, or one ModelError naming what came instead."""
    if not len(x):
        return x.new_zeros(0, 2)
    logits = ask(x)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"The model must return logits of shape ({len(x)}, classes); got {got} for a batch of {len(x)}.")
    if logits.shape[1] < 2:
        raise ModelError(
            "The model must score at least 2 classes; got 1 logit an example. "
            "Wrap a one-logit binary network so that it returns torch.cat([-z, z], dim=1)."
        )
    if not logits.is_floating_point():
        raise ModelError(f"The model must return floating-point scores; got {logits.dtype}. Return its last layer's output.")
    return logits.to(x.dtype) if logits.dtype != x.dtype else logits


def checked_answers(model: Model, x: Tensor) -> Int[Tensor, " b"]:
    """The model's answers, or one ModelError."""
    if not len(x):
        return torch.zeros(0, dtype=torch.int64, device=x.device)
    with torch.no_grad():
        labels = model.labels(x)
    if not isinstance(labels, Tensor) or tuple(labels.shape) != (len(x),) or labels.is_floating_point():
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ModelError(f"The model must return one integer label an example, shape ({len(x)},); got {got}.")
    return labels.to(x.device)


def where_broken(answer: Tensor) -> Bool[Tensor, " b"] | None:
    """Where logits (b, k) or labels (b,) are no answer: None if, as nearly always, they all are one."""
    if not len(answer):
        return None
    if answer.is_floating_point():
        return None if answer.max().item() < torch.inf else unanswered(answer)
    return None if answer.min().item() >= 0 else answer < 0


def outcome(goal: Goal, answer: Tensor, broken: Bool[Tensor, " b"] | None, dtype: torch.dtype) -> Float[Tensor, " b"]:
    """The goal's margin of logits (b, k); of labels (b,) -1 where the goal is reached and 1 elsewhere."""
    margin = goal.margin(answer) if answer.is_floating_point() else torch.where(goal.reached(answer), -1.0, 1.0).to(dtype)
    return margin if broken is None else margin.masked_fill(broken, torch.inf)
