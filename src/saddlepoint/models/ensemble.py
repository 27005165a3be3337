"""Several models as one."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_answers, checked_logits
from saddlepoint.core.errors import InputError, ModelError
from saddlepoint.core.model import Access, Model
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Wrapped, answered, averaged, chosen, elected


class Ensemble(Wrapped):
    """The weighted mean answer of several models.

    Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018: what fools the mean of several models is likelier
    to fool one that the attacker cannot see, and averaging logits serves an attack better than averaging probabilities.
    Use `Stop.NEVER` for that: the first input to fool the mean need not fool every member. Their third kind, the mean of
    the members' losses, is no model and is not offered.

    Logits are averaged as they are: of two models that are equally sure, the one with the larger logits counts for more.
    Weights can make up for it, or `over="probabilities"`.

    Args:
        models: Models, or torch modules of inputs in [0, 1], with the same bounds and classes. They may be on several
            devices.
        weights: one a model, at least zero; scaled to sum to one. By default all are equal.
        over: what is averaged: "logits", "probabilities" (the logits of this model are the logarithms of their mean) or
            "votes" (this model gives labels only). By default logits, or votes where a model gives labels only.

    Raises:
        InputError: an argument is not what it should be.
    """

    def __init__(
        self,
        models: Sequence[Any],
        weights: Sequence[float] | None = None,
        over: Literal["logits", "probabilities", "votes"] | None = None,
    ) -> None:
        if not isinstance(models, list | tuple) or not models:
            raise InputError(f"models must be a list of at least one model; got {models!r:.80}. Write [first, second].")
        self.models: tuple[Model, ...] = tuple(as_model(model) for model in models)
        super().__init__(*self.models)
        self.weights = _normalized(weights, len(self.models))
        bounds = {model.bounds for model in self.models}
        if len(bounds) > 1:
            raise InputError(f"The models must have the same bounds; got {sorted(bounds)}. Scale inside of them.")
        (self.bounds,) = bounds
        self.over = chosen(over, "a model", self.access < Access.SCORES)
        self.access = min(self.access, Access.LABELS) if self.over == "votes" else self.access

    def logits(self, x: Tensor) -> Tensor:
        self.require(Access.SCORES, "logits", "Ask for labels.")
        answers = [checked_logits(model.logits, _moved(x, model)).to(x.device) for model in self.models]
        classes = [answer.shape[1] for answer in answers]
        if len(set(classes)) > 1:
            raise ModelError(f"The models must have the same classes; got {classes} of them. Leave out those that differ.")
        return averaged(torch.stack(answers), self.weights, self.over)

    def labels(self, x: Tensor) -> Tensor:
        if self.over == "votes":
            answers = [checked_answers(model, _moved(x, model)).to(x.device) for model in self.models]
            return elected(torch.stack(answers), self.weights)
        return answered(self.logits(x))


def _moved(x: Tensor, model: Model) -> Tensor:
    return x if model.device is None else x.to(model.device)


def _normalized(weights: Sequence[float] | None, n: int) -> Tensor:
    try:
        given = torch.as_tensor([1.0] * n if weights is None else weights, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        given = torch.empty(0)
    if tuple(given.shape) != (n,) or not (given.isfinite().all() and (given >= 0).all() and given.sum() > 0):
        raise InputError(f"weights must be {n} numbers of at least zero, and not all zero; got {weights!r:.80}.")
    return given / given.sum()
