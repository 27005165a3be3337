"""A model with a detector that may refuse to answer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.answers import checked_answers
from saddlepoint.core.errors import ModelError
from saddlepoint.core.model import Access
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Part, Wrapped


class Guarded(Wrapped):
    """A model of k classes and a detector, as a model of k + 1 classes: the last is the rejection.

    An input is rejected exactly when the detector's score is above the threshold. The first k logits are the model's. The
    last is their largest plus (score - threshold), so that attacks by gradient see the detector where it has a gradient:
    Carlini and Wagner, "Adversarial examples are not easily detected", AISec 2017.

    A rejection is no answer: given labels, an attack wins by a wrong answer that is *not* rejected. To an attacker who is
    content with denying service, a rejection is a win like any other: `Untargeted(y)`, without its `rejection`.

    Args:
        model: a Model, or a torch module of inputs in [0, 1].
        detector: from inputs (b, *shape) to scores (b,), higher for more suspicious; a module runs in evaluation mode. The
            score should be on the scale of logits, as log-odds are.
        threshold: highest score that is let pass.
        classes: k, which is also the number of the rejection.

    Raises:
        InputError: an argument is not what it should be.
    """

    def __init__(self, model: Any, detector: Callable[[Tensor], Tensor], threshold: float = 0.0, *, classes: int) -> None:
        self.model, self.threshold = as_model(model), threshold
        self.detector = Part("detector", detector if not callable(detector) else _Column(detector))
        super().__init__(self.model, self.detector)
        self.bounds, self.rejection = self.model.bounds, classes

    def score(self, x: Tensor) -> Tensor:
        """(b,) scores of the detector."""
        return self.detector(x).squeeze(1)

    def logits(self, x: Tensor) -> Tensor:
        self.require(Access.SCORES, "logits", "Ask for labels.")
        logits = self.model.logits(x)
        if logits.shape[1] != self.rejection:
            raise ModelError(
                f"Guarded was told of {self.rejection} classes, and the model has {logits.shape[1]}. Correct it."
            )
        suspicion = self.score(x).to(logits) - self.threshold
        top = logits.amax(1)
        # A score just above the threshold may be lost in the sum, and one that is not above must not win.
        above = torch.nextafter(top.detach(), top.new_tensor(torch.inf)) - top.detach()
        shift = torch.where(suspicion > 0, suspicion.maximum(above), suspicion)
        return torch.cat([logits, (top + shift)[:, None]], 1)

    def labels(self, x: Tensor) -> Tensor:
        if self.model.access >= Access.SCORES:
            return super().labels(x)
        rejected = self.score(x.detach()) > self.threshold
        return checked_answers(self.model, x).masked_fill(rejected, self.rejection)


class _Column(nn.Module):
    """Scores (b,) as a column (b, 1)."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        scores = self.score(x)
        if not isinstance(scores, Tensor) or scores.shape != x.shape[:1]:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ModelError(f"The detector must return one score an input, shape ({len(x)},); got {got}.")
        return scores[:, None]
