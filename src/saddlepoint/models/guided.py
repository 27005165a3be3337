"""Models in two parts: what is asked while an attack searches, and what has the last word."""

from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.model import Access
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Instead, Wrapped


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
        return Instead.apply(answer, checked_logits(self.guide.logits, x)[:, : answer.shape[1]])

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
