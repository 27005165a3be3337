"""Networks with nothing to hide, of many kinds: an audit that distrusts one of them raises a false alarm."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint.data import Arrays, DataSet
from saddlepoint.defenses.workshop import Relabeled, Workshop
from saddlepoint.models.zoo import SmallCNN


@dataclass(frozen=True)
class Honest:
    """One network.

    Attributes:
        about: what kind.
        build: from a workshop on the training part of the digits to a model.
        data: from the digits to what it is audited on.
        threat: where.
    """

    about: str
    build: Callable[[Workshop], Any]
    data: Callable[[DataSet], DataSet] = lambda data: data
    threat: str = "linf:0.1"


class Recurrent(nn.Module):
    """A gated recurrent unit that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(28, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x[:, 0])[0][:, -1])


class Attentive(nn.Module):
    """A small vision transformer: patches of 7 x 7 pixels, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 48, 7, stride=7)
        self.places = nn.Parameter(0.02 * torch.randn(1, 16, 48))
        layer = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).mT + self.places).mean(1))


class Residual(nn.Module):
    """Convolutions with batch normalization, a shortcut, and pooling by the maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2))
        self.block = nn.Sequential(
            nn.Conv2d(24, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.BatchNorm2d(24),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24 * 49, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.block(x))


class Smoothed(nn.Module):
    """The mean probabilities of a network over the same sixteen noises for every image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("noise", 0.15 * torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        many = (x[None] + self.noise[:, None]).flatten(0, 1)
        return self.net(many).softmax(1).unflatten(0, (16, len(x))).mean(0)


def batch_normed() -> nn.Module:
    """Strided convolutions with batch normalization and GELU."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.GELU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 49, 10),
    )  # fmt: skip


def linear() -> nn.Module:
    """Logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def saturating() -> nn.Module:
    """Two layers of tanh."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def adversarially(threat: str, **how: Any) -> Callable[[Workshop], Any]:
    """A network trained against PGD."""

    def build(w: Workshop) -> Any:
        inner = sp.attacks.PGD(steps=5, loss="cross_entropy")
        trainer = sp.Trainer(epochs=12, learning_rate=3e-3, attack=inner, threat=_threat(threat), warmup=4, **how)
        return w.classifier(lambda: SmallCNN(w.shape, 10), trainer=trainer)

    return build


def _threat(text: str) -> sp.Threat:
    kind, _, eps = text.partition(":")
    return {"linf": sp.Linf, "l2": sp.L2}[kind](float(eps))


def even(data: DataSet) -> DataSet:
    """Two classes: odd and even digits."""
    x, y = data.batch(range(len(data)))
    return Arrays("parity", x.numpy(), (y % 2).numpy())


def pairs(data: DataSet) -> DataSet:
    """A hundred classes: two digits side by side."""
    x, y = data.batch(range(len(data)))
    other = np.random.default_rng(0).permutation(len(data))
    return Arrays("pairs", torch.cat([x, x[other]], 3).numpy(), (10 * y + y[other]).numpy())


def small(data: DataSet) -> DataSet:
    """Seven by seven pixels."""
    x, y = data.batch(range(len(data)))
    return Arrays("small", nn.functional.avg_pool2d(x, 4).numpy(), y.numpy())


def on(change: Callable[[DataSet], DataSet], classes: int) -> Callable[[Workshop], Any]:
    """A small network trained on other data made of the digits."""

    def build(w: Workshop) -> Any:
        other = replace(w, data=change(w.data))
        return other.classifier(lambda: SmallCNN(other.shape, classes))

    return build


def noisy(w: Workshop) -> Any:
    """Trained on images with noise."""
    x = w.images + 0.2 * torch.randn(w.images.shape, generator=torch.Generator().manual_seed(1))
    return w.classifier(lambda: nn.Sequential(SmallCNN(w.shape, 10)), data=Relabeled(w.data, x=x.clamp(0, 1)))


HONEST = {
    "plain": Honest("three convolutions", lambda w: w.plain()),
    "madry": Honest("the same, trained against PGD at linf 0.2", adversarially("linf:0.2"), threat="linf:0.2"),
    "madry-l2": Honest("the same, trained against PGD at l2 1.5", adversarially("l2:1.5"), threat="l2:1.5"),
    "batch-normed": Honest("batch normalization and GELU", lambda w: w.classifier(batch_normed)),
    "residual": Honest("a residual network with maximum pooling", lambda w: w.classifier(Residual)),
    "transformer": Honest("a small vision transformer", lambda w: w.classifier(Attentive)),
    "recurrent": Honest("a recurrent network", lambda w: w.classifier(Recurrent)),
    "tanh": Honest("two saturating layers", lambda w: w.classifier(saturating)),
    "linear": Honest("logistic regression", lambda w: w.classifier(linear)),
    "noise-trained": Honest("three convolutions trained with noise", noisy),
    "smoothed": Honest("mean probabilities over fixed noises", lambda w: Smoothed(noisy(w)).eval()),
    "log-softmax": Honest("returns log-probabilities", lambda w: nn.Sequential(w.plain(), nn.LogSoftmax(1)).eval()),
    "binary": Honest("two classes", on(even, 2), even),
    "hundred": Honest("a hundred classes", on(pairs, 100), pairs),
    "tiny": Honest("images of 7 x 7 pixels", on(small, 10), small),
}
