"""Where the networks of the gallery are made: trained once on a data set, and read back afterwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.core.config import to_config
from saddlepoint.data import DataSet
from saddlepoint.models.cache import kept
from saddlepoint.models.train import Examples, Trainer, seeded
from saddlepoint.models.zoo import SmallCNN


@dataclass(frozen=True)
class Workshop:
    """Trains networks for images on the training part of a data set.

    Attributes:
        data: images (c, h, w) in [0, 1] with labels.
        trainer: of every classifier.
        seed: of the first parameters, and of what defenses draw while a network is trained.
    """

    data: DataSet
    trainer: Trainer = Trainer(epochs=8)  # noqa: RUF009 - a frozen record
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of an image."""
        c, h, w = self.data.shape
        return c, h, w

    @cached_property
    def images(self) -> Tensor:
        """All images (n, c, h, w)."""
        return self.data.batch(range(len(self.data)))[0]

    @cached_property
    def _digest(self) -> str:
        return self.data.digest()

    def plain(self) -> nn.Module:
        """An undefended network, the same as `saddlepoint.subjects.trained` makes of the data."""
        net = seeded(lambda: SmallCNN(self.shape, len(self.data.classes)), self.trainer.seed)
        made_of = {"trainer": to_config(self.trainer), "data": self._digest, "net": "SmallCNN", "torch": torch.__version__}
        kept(net, made_of, lambda: self.trainer.fit(net, self.data))
        return net.eval()

    def classifier(self, make: Callable[[], nn.Module], data: Examples | None = None, trainer: Trainer | None = None) -> Any:
        """The module that `make` builds, trained as a whole on the data, or on others that stand for them."""
        trainer = trainer or self.trainer
        return self.made(make, trainer, lambda net: trainer.fit(net, data or self.data))

    def behind(self, preprocess: nn.Module) -> nn.Module:
        """A small network for what `preprocess` makes of the images, trained on that, as one module."""
        with torch.no_grad():
            shape = preprocess(self.images[:1]).shape[1:]
        return self.classifier(lambda: defended(preprocess, SmallCNN(tuple(shape), len(self.data.classes))))

    def before(self, preprocess: nn.Module) -> nn.Module:
        """The same for a slow preprocessing, which every image passes but once, and is done with before the training."""

        def fit(net: nn.Module) -> None:
            with torch.no_grad():
                seen = torch.cat([preprocess(part) for part in self.images.split(500)])
            self.trainer.fit(net, Relabeled(self.data, x=seen))

        how = {"trainer": to_config(self.trainer), "preprocess": str(preprocess)}
        net = self.made(lambda: SmallCNN(self.shape, len(self.data.classes)), how, fit)
        return defended(preprocess, net)

    def likelihood(self, make: Callable[[], Any], epochs: int) -> Any:
        """A generative model with a `loss` of images, trained on the images."""

        def fit(net: Any) -> None:
            solver = torch.optim.Adam(net.parameters(), 2e-3)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, epochs)
            for _ in range(epochs):
                for rows in torch.randperm(len(self.images)).split(64):
                    solver.zero_grad()
                    net.loss(self.images[rows]).backward()
                    solver.step()
                schedule.step()

        net = self.made(make, {"epochs": epochs, "step_size": 2e-3}, fit)
        return net.requires_grad_(False)

    def made(self, make: Callable[[], nn.Module], how: Any, fit: Callable[[Any], Any]) -> Any:
        """A module in evaluation mode, trained by `fit`; `how` is all that its weights depend on beside its structure."""
        net = seeded(make, self.seed)
        made_of = {
            "net": str(net), "how": to_config(how), "data": self._digest, "seed": self.seed, "torch": torch.__version__,
        }  # fmt: skip

        def run() -> None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                fit(net)

        kept(net, made_of, run)
        return net.eval()


@dataclass(frozen=True)
class Relabeled:
    """The data with other inputs, other targets (n,) or (n, k), or both."""

    data: DataSet
    x: Tensor | None = None
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.data.batch(indices)
        rows = torch.as_tensor(indices)
        return x if self.x is None else self.x[rows], y if self.y is None else self.y[rows]


def defended(preprocess: nn.Module, net: nn.Module) -> nn.Module:
    """A network behind a preprocessing, as one would ship it: one module, with the parts `preprocess` and `net`."""
    both = nn.Sequential()
    both.add_module("preprocess", preprocess)
    both.add_module("net", net)
    return both.eval()
