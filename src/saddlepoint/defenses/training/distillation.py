"""Defensive distillation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from saddlepoint.data import DataSet
from saddlepoint.defenses.workshop import Relabeled
from saddlepoint.models.train import Trainer


class Cooled(nn.Module):
    """A network whose logits are divided by a temperature, as while it is distilled."""

    def __init__(self, net: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) / self.temperature


def distill(
    student: nn.Module, make: Callable[[], nn.Module], data: DataSet, trainer: Trainer, temperature: float = 100.0
) -> None:
    """Train `student` in place on the softened answers of a teacher that `make` builds and that is trained first.

    Papernot, McDaniel, Wu, Jha and Swami, "Distillation as a defense", S&P 2016. Both are trained at the temperature. The
    student is then used at temperature 1: its logits are so large that the softmax saturates, and in 32 bits the gradient
    of the cross entropy is zero. Carlini and Wagner (2017) take the logits themselves.

    Deviations: Adam, which starts without the warm start that gradient descent needs at a high temperature.
    """
    teacher = Cooled(make(), temperature)
    trainer.fit(teacher, data)
    with torch.no_grad():
        soft = torch.cat([teacher(x).softmax(1) for _, x, _ in data.batches(256)])
    trainer.fit(Cooled(student, temperature), Relabeled(data, y=soft))  # cross entropy takes chances for labels, too
