"""Adversarial training: what it costs, and that it makes networks robust."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.data.dataset import Subset
from saddlepoint.models.train import seeded
from saddlepoint.models.zoo import SmallCNN

FAST = sp.attacks.PGD(steps=1, step_size=0.125)
WAYS = {
    "free": sp.Trainer(epochs=2, learning_rate=5e-3, threat=sp.Linf(0.1), replays=4),
    "free l2": sp.Trainer(epochs=2, learning_rate=5e-3, threat=sp.L2(0.5), replays=4),
    "fast": sp.Trainer(epochs=4, learning_rate=5e-3, threat=sp.Linf(0.1), attack=FAST),
}


class Counting(SmallCNN):
    asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += len(x)
        return super().forward(x)


def robust(trainer: sp.Trainer, threat: str) -> float:
    model = trainer.fit(seeded(lambda: SmallCNN((1, 8, 8)), 0), load("digits", "train"))
    x, y = load("digits").batch(range(100))
    return sp.attack(model, x, y, threat, sp.attacks.PGD(steps=20)).robust_accuracy.value


@pytest.mark.parametrize("way", WAYS)
def test_cheap_adversarial_training_makes_robust(way: str) -> None:
    threat = "l2:0.5" if way == "free l2" else "linf:0.1"
    plain = sp.Trainer(epochs=4, learning_rate=5e-3)
    assert robust(WAYS[way], threat) > robust(plain, threat) + 0.2


def test_free_training_asks_once_a_replay() -> None:
    net = seeded(lambda: Counting((1, 8, 8)), 0)
    data = Subset(load("digits", "train"), torch.arange(100))  # the second batch is smaller than the first
    losses: list[float] = []
    sp.Trainer(epochs=2, threat=sp.Linf(0.1), replays=3).fit(net, data, on_epoch=lambda _, loss: losses.append(loss))
    assert net.asked == 2 * 3 * 100 + 2  # two looks at one example, for how the weights may lie
    assert losses[1] < losses[0]
