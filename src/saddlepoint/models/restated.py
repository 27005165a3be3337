"""The same classifier, asked so that more can be heard: on a logarithmic scale, in double precision, one row at a time."""

import copy
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_answers, checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Wrapped
from saddlepoint.models.torch import TorchModel


class LogProbabilities(Wrapped):
    """Logits of a model that returns probabilities: their logarithms.

    A difference of probabilities is flat where one of them is near one; the difference of their logarithms is that of the
    logits below the softmax.
    """

    def __init__(self, model: Any) -> None:
        self.model = as_model(model)
        super().__init__(self.model)
        self.bounds = self.model.bounds

    def logits(self, x: Tensor) -> Tensor:
        scores = self.model.logits(x)  # not checked before the logarithm: that would round double precision away
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(x)


class OneByOne(Wrapped):
    """A model that is shown one row at a time, for one whose answer to a row depends on the others in its batch."""

    def __init__(self, model: Any) -> None:
        self.model = as_model(model)
        super().__init__(self.model)
        self.bounds = self.model.bounds

    def logits(self, x: Tensor) -> Tensor:
        return torch.cat([checked_logits(self.model.logits, row) for row in x.split(1)])

    def labels(self, x: Tensor) -> Tensor:
        return torch.cat([checked_answers(self.model, row) for row in x.split(1)])


def in_double(model: TorchModel) -> TorchModel:
    """A copy of the network in double precision, where a softmax may fall to 1e-300 before it is zero.

    Raises InputError when the network cannot be copied.
    """
    try:
        net = copy.deepcopy(model.net).double()
    except (RuntimeError, TypeError) as error:
        name = type(model.net).__name__
        raise InputError(f"{name} cannot be copied ({error}). Give a network that copy.deepcopy takes.") from error
    return TorchModel(net, model.bounds, model.mean, model.std)
