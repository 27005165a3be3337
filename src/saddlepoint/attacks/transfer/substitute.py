"""A network of one's own, trained to answer as a model does that only answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from saddlepoint.core.answers import checked_answers
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.errors import InputError, ModelError
from saddlepoint.core.model import Access, Model
from saddlepoint.core.paper import Paper
from saddlepoint.core.play import as_model, checked_inputs
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import Trainer, as_device, seeded


@dataclass(frozen=True)
class Round:
    """One round of imitation.

    Attributes:
        points: how many inputs the substitute has learned from.
        asked: how many of them the oracle was asked about in this round.
        agreement: share of the points whose answer the substitute has learned.
    """

    points: int
    asked: int
    agreement: float


@dataclass(frozen=True, repr=False)
class Imitation:
    """A substitute, and how it came about.

    Attributes:
        model: the substitute; attack it, and show the result to the oracle: `Transfer(attack=..., source=model)`.
        x: (n, *shape) all inputs that the oracle was asked about, the seeds first.
        y: (n,) its answers.
        rounds: one entry a round of training.
    """

    model: TorchModel
    x: Tensor
    y: Tensor
    rounds: tuple[Round, ...]

    @property
    def queries(self) -> int:
        """What the oracle was asked: one question an input."""
        return len(self.x)

    def __repr__(self) -> str:
        return f"Imitation({self.queries} queries in {len(self.rounds)} rounds, agreement {self.rounds[-1].agreement:.1%})"


@record
class Substitute:
    """Train a substitute on the answers of an oracle, and ask it next where the substitute is most sensitive.

    Each round labels what is new, trains on all there is, and adds x + step_size sign(dF_y/dx) for the points so far, y
    being the oracle's answer. The points double each round; with a `reservoir`, no more than so many are added from the
    round `warmup` on. Not a way to a good classifier: what counts is that the boundaries lie alike where attacks look.

    Attributes:
        rounds: of training; the points grow between them.
        epochs: passes over the points in a round, going on from the parameters of the last.
        step_size: lambda, in input units.
        period: tau, the sign of the step turns every so many rounds; None for never.
        warmup: sigma, rounds of growth in which every point has a successor.
        reservoir: kappa, how many points have successors after that, drawn anew each round; None for all.
        clip: keep what is added within the bounds; the public code does not.
        learning_rate: the highest of a round's cycle.
        batch: examples a step.
        width: of the two hidden layers of the network that `fit` makes when it is given none.
        seed: of its parameters, the order of examples and the draws.

    Deviations: a point has the sign of its gradient at its own answer's logarithm of probability, the same sign as the
    probability's, but one that does not vanish where the softmax saturates. Each round's training is Adam with a cycle.
    """

    paper: ClassVar = Paper(
        key="papernot2017practical",
        title="Practical Black-Box Attacks against Machine Learning",
        authors="Papernot, Nicolas and McDaniel, Patrick and Goodfellow, Ian and Jha, Somesh and Celik, Z. Berkay"
        " and Swami, Ananthram",
        year=2017,
        venue="ACM Asia Conference on Computer and Communications Security",
        arxiv="1602.02697",
    )
    access: ClassVar = Access.LABELS
    rounds: Count = 6
    epochs: Count = 10
    step_size: StepSize = 0.1
    period: Count | None = None
    warmup: Annotated[int, Field(ge=0)] = 3
    reservoir: Count | None = None
    clip: bool = True
    learning_rate: StepSize = 2e-3
    batch: Count = 64
    width: Count = 200
    seed: int = 0

    def queries(self, seeds: int) -> int:
        """What `fit` will ask of the oracle for so many seeds, exactly."""
        points = seeds
        for grown in range(self.rounds - 1):
            points += self._successors(points, grown)
        return points

    def fit(
        self,
        oracle: Any,
        x: Any,
        net: nn.Module | None = None,
        *,
        classes: int | None = None,
        device: torch.device | str = "cpu",
        on_round: Callable[[int, int], None] | None = None,
    ) -> Imitation:
        """Imitate `oracle` from the inputs x on.

        Args:
            oracle: a Model, asked for labels alone, `queries(len(x))` of them.
            x: (n, *shape) seeds, a few of every class, within the oracle's bounds; their labels are not needed.
            net: what to train, in place; None for a perceptron of two hidden layers.
            classes: outputs of that; None for as many as the largest answer to the seeds shows.
            device: where the substitute is trained.
            on_round: called with the rounds done and the rounds in all.

        Raises:
            InputError: the seeds are not what they should be.
            ModelError: the oracle fails, or gives an answer that the network has no output for.
        """
        oracle = as_model(oracle)
        points = checked_inputs(x, oracle)
        if not len(points):
            raise InputError("Substitute needs seeds to begin with, and x has none. Give a few inputs of every class.")
        where, draws = as_device(device), torch.Generator().manual_seed(self.seed)
        answers = _labels(oracle, points, self.batch)
        if net is None:
            net = seeded(lambda: self.perceptron(points[0].numel(), classes or int(answers.max()) + 1), self.seed)
        model, done = TorchModel(net.to(where), oracle.bounds), []
        asked = len(points)
        for number in range(self.rounds):
            trainer = Trainer(
                epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed + number
            )  # fmt: skip
            lessons = _Lessons(points.to(where), answers.to(where), _outputs(model, points[:1].to(where)))
            trainer.fit(net, lessons, device=where)
            done.append(Round(len(points), asked, _agreement(model, lessons, self.batch)))
            if on_round:
                on_round(number + 1, self.rounds)
            if number + 1 < self.rounds:
                chosen = self._chosen(len(points), number, draws)
                new = self._moved(model, oracle, points[chosen], answers[chosen], number)
                asked = len(new)
                points, answers = torch.cat([points, new]), torch.cat([answers, _labels(oracle, new, self.batch)])
        return Imitation(model, points, answers, tuple(done))

    def perceptron(self, features: int, classes: int) -> nn.Module:
        """What is trained when nothing else is given."""
        sizes = (features, self.width, self.width)
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(self.width, max(2, classes)))

    def _successors(self, points: int, grown: int) -> int:
        """How many points are added to so many, after the set has grown so often."""
        return points if self.reservoir is None or grown < self.warmup else min(points, self.reservoir)

    def _chosen(self, points: int, grown: int, draws: torch.Generator) -> Tensor:
        """The points that get a successor: all, or a reservoir filled in one pass."""
        size = self._successors(points, grown)
        later = torch.arange(size, points)
        # The point i > size takes a random place with probability size / i; of several in one place the last stays.
        place = (torch.rand(len(later), generator=draws, dtype=torch.float64) * (later + 1)).long()
        lucky = place < size
        return torch.arange(size).scatter_reduce(0, place[lucky], later[lucky], "amax")

    def _moved(self, model: TorchModel, oracle: Model, x: Tensor, y: Tensor, number: int) -> Tensor:
        """x + lambda sign of the gradient of the substitute's output for the oracle's answer."""
        step = self.step_size * (1 if self.period is None or number // self.period % 2 == 0 else -1)
        with model.session():
            parts = [
                part + step * _slope(model, part, labels).sign().to(part)
                for part, labels in zip(x.split(self.batch), y.split(self.batch), strict=True)
            ]
        new = torch.cat(parts)
        return new.clamp(*oracle.bounds) if self.clip else new


class _Lessons:
    """Points and the oracle's answers, as a trainer takes them."""

    def __init__(self, x: Tensor, y: Tensor, outputs: int) -> None:
        if int(y.max()) >= outputs:
            raise ModelError(
                f"The oracle answered class {int(y.max())}, and the substitute has {outputs} outputs. "
                "Say how many classes there are, or give seeds of every class."
            )
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels."""
        return self.x[indices], self.y[indices]


def _labels(oracle: Model, x: Tensor, batch: int) -> Tensor:
    with oracle.session():
        found = torch.cat([checked_answers(oracle, part) for part in x.split(batch)])
    if (found < 0).any():
        raise ModelError(
            "The oracle gave no answer to an input (NaN or infinite scores). Repair it, or leave the input out."
        )
    return found


def _outputs(model: TorchModel, x: Tensor) -> int:
    with model.session(), torch.no_grad():
        return model.logits(x).shape[1]


def _agreement(model: TorchModel, lessons: _Lessons, batch: int) -> float:
    with model.session(), torch.no_grad():
        right = sum(
            int((model.labels(x) == y).sum()) for x, y in zip(lessons.x.split(batch), lessons.y.split(batch), strict=True)
        )
    return right / len(lessons)


def _slope(model: TorchModel, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.detach().to(model.device).requires_grad_()
    with torch.enable_grad():
        chance = model.logits(leaf).log_softmax(1).gather(1, y.to(leaf.device)[:, None]).sum()
        return torch.autograd.grad(chance, leaf)[0]
