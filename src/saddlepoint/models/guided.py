"""Models in two parts: what is asked while an attack searches, and what has the last word."""

from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Access
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Instead, Wrapped
from saddlepoint.ops import losses


class Guided(Wrapped):
    """The scores of one model with the gradient of another: BPDA for a whole network.

    Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018. Every candidate is judged
    by `model`, exactly; only the way to the next one is the guide's. The guide may be a network trained to answer as the
    model does, or the same model averaged over noise, where its own gradient is useless.

    Args:
        model: a Model, or a torch module of inputs in [0, 1]; scores are enough.
        guide: a model of the same inputs and classes that gives gradients.
    """

    def __init__(self, model: Any, guide: Any) -> None:
        self.model, self.guide = as_model(model), as_model(guide)
        super().__init__(self.model, self.guide)
        self.bounds = self.model.bounds
        self.access = Access.GRADIENTS if self.model.access >= Access.SCORES else self.model.access
        self.guide.require(Access.GRADIENTS, "Guided", "Give a guide that can be differentiated.")

    def logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            answer = checked_logits(self.model.logits, x)
        if not (x.requires_grad and torch.is_grad_enabled()):
            return answer
        return Instead.apply(answer, checked_logits(self.guide.logits, x))

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(x)


class Confident(Wrapped):
    """A model that may refuse, guided as if certainty would keep it from refusing.

    Most detectors take for clean what a network is sure of (Carlini and Wagner, "Adversarial examples are not easily
    detected", AISec 2017). Where the refusal is the largest output, its gradient is here that of the likeliest answer's
    rivals: an attack that pushes the refusal down raises the likeliest answer above all others.

    Args:
        model: a Model with a `rejection`, whose answers stay as they are.
    """

    def __init__(self, model: Any) -> None:
        self.model = as_model(model)
        super().__init__(self.model)
        self.bounds = self.model.bounds
        if self.rejection is None:
            raise InputError(
                "Confident needs a model that may refuse to answer; this one has no rejection. Attack it as it is."
            )

    def logits(self, x: Tensor) -> Tensor:
        answer = checked_logits(self.model.logits, x)
        refused = torch.arange(answer.shape[1], device=x.device) == self.rejection
        answers = answer.masked_fill(refused, -torch.inf)
        rivals = losses.without(answers, answers.argmax(1)).logsumexp(1)
        return Instead.apply(answer.detach(), torch.where(refused, rivals[:, None], answer))

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(x)


class Judged(Wrapped):
    """One model to search on, and another one whose answer decides.

    What an attack by scores or gradients finds on `search` is asked again of `judge` before it counts. So a repaired copy of
    a model may be attacked, and only what fools the model itself is a success.

    Args:
        search: gives scores and gradients.
        judge: gives the answers.
    """

    def __init__(self, search: Any, judge: Any) -> None:
        self.search, self.judge = as_model(search), as_model(judge)
        super().__init__(self.search, self.judge)
        self.bounds, self.access, self.rejection = self.search.bounds, self.search.access, self.judge.rejection

    def logits(self, x: Tensor) -> Tensor:
        return self.search.logits(x)

    def labels(self, x: Tensor) -> Tensor:
        return self.judge.labels(x)
