"""The networks that are attacked, and the examples, all of which they answer right."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.data import load
from saddlepoint.models.cache import kept
from saddlepoint.models.train import Trainer, seeded
from saddlepoint.models.zoo import SmallCNN

CASES = Path("tests/reference/cases")
DATA = "mnist-5k"
TRAINER = Trainer(epochs=3)


class Residual(nn.Module):
    """Convolutions with batch normalization and shortcuts: about eight times the work of SmallCNN."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.first, self.second = self.block(width), self.block(2 * width)
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))

    @staticmethod
    def block(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.down((x + self.first(x)).relu())
        return self.head(x + self.second(x))


@dataclass(frozen=True)
class Match:
    """What a case is played on.

    Attributes:
        net: the network.
        x: (n, 1, 28, 28) inputs.
        y: (n,) labels.
        test: inputs and labels to grade a network by, where one is trained.
    """

    net: nn.Module
    x: Tensor
    y: Tensor
    test: tuple[Tensor, Tensor] | None = None


def committed(name: str, folder: Path) -> Match:
    """A network of the folder, with its 200 images.

    Raises InputError where there is none.
    """
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(
            f"There is no network {path}. The networks of the benchmark are in {CASES} of the repository: name that folder "
            "with --cases."
        )
    weights = load_file(path)
    x, y = weights.pop("case.x").float() / 255, weights.pop("case.y")
    net = SmallCNN().eval()
    net.load_state_dict(weights)
    return Match(net, x, y)


def residual() -> Match:
    """A residual network, trained the first time, with the first 200 digits of the test part that it answers right."""
    net = seeded(Residual, TRAINER.seed)
    made_of = {"net": "bench.Residual(32)", "trainer": to_config(TRAINER), "data": DATA}
    kept(net, made_of, lambda: TRAINER.fit(net, load(DATA, "train")))
    x, y = load(DATA).batch(range(300))
    with torch.no_grad():
        right = net.eval()(x).argmax(1) == y
    return Match(net, x[right][:200], y[right][:200])


def untrained() -> Match:
    """A small network as it is drawn, 2000 digits to train it on and 1000 to grade it by."""
    x, y = load(DATA, "train").batch(range(2000))
    return Match(seeded(SmallCNN, 0), x, y, load(DATA).batch(range(1000)))


def match(name: str, n: int, folder: Path) -> Match:
    """The network of that name and its first n examples, after a first pass, so that nobody pays for it.

    Raises InputError where there are fewer, or the network answers one of them wrong.
    """
    made = {"residual": residual, "untrained": untrained}.get(name, lambda: committed(name, folder))()
    if len(made.y) < n:
        raise InputError(f"The network {name} has {len(made.y)} examples, and {n} are asked for. Ask for fewer.")
    x, y = made.x[:n].contiguous(), made.y[:n]
    logits = made.net(x)
    cross_entropy(logits, y).backward()
    made.net.zero_grad()
    if made.test is None and not (logits.argmax(1) == y).all():
        raise InputError(f"The network {name} answers some of its examples wrong. Give the files of the repository.")
    return Match(made.net, x, y, made.test)
