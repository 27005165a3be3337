"""What the methods have in common that learn one change for all inputs."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.attacks.learned.perturbation import Learned, Perturbation
from saddlepoint.core.answers import checked_answers, checked_logits, natural_scale
from saddlepoint.core.attack import LearnedAttack
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.goal import Goal, Targeted, Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.result import Share
from saddlepoint.core.threat import Threat
from saddlepoint.ops.losses import unanswered
from saddlepoint.threats import L2, Linf

EVERYWHERE = (-torch.inf, torch.inf)  # the change itself has a norm and no box


@dataclass
class Lesson:
    """What is learned on, and how far learning is.

    Attributes:
        goal: what to reach: leave the answer to the clean input, or the target.
        scale: (n,) what logits are divided by, so that theirs does not matter.
        delta: (1, *shape) the change so far.
        velocity: (1, *shape) the running sum of gradients, for methods that keep one.
    """

    model: Model
    x: Tensor
    goal: Goal
    threat: Threat
    scale: Tensor
    delta: Tensor
    velocity: Tensor
    forwards: int = 0
    backwards: int = 0

    @classmethod
    def begin(cls, model: Model, x: Tensor, goal: Goal, threat: Threat, batch: int) -> "Lesson":
        """Ask about the clean inputs; begin with no change."""
        with torch.no_grad():
            logits = torch.cat([checked_logits(model.logits, rows) for rows in x.split(batch)])
        broken = unanswered(logits)
        if broken.any():
            raise InputError(
                f"The model answers the clean input at index {int(broken.nonzero()[0])} with NaN or infinity. "
                "Repair the model, or leave such inputs out."
            )
        goal = goal.bind(logits) if isinstance(goal, Targeted) else Untargeted(logits.argmax(1))
        nothing = torch.zeros_like(x[:1])
        return cls(model, x, goal, threat, natural_scale(logits), nothing, nothing.clone(), forwards=len(x))

    def changed(self, rows: Tensor) -> Tensor:
        """The inputs with the change so far, within the bounds of the model."""
        return (self.x.index_select(0, rows) + self.delta).clamp(*self.model.bounds)

    def move(self, step: Tensor) -> None:
        """Add to the change, and go to the nearest one within the radius."""
        nothing = torch.zeros_like(self.delta)
        self.delta = self.threat.project(nothing, self.delta + step.nan_to_num(), EVERYWHERE)

    @torch.no_grad()
    def fooled(self, batch: int) -> Share:
        """How many inputs the change so far brings to the goal."""
        count = 0
        for rows in torch.arange(len(self.x), device=self.x.device).split(batch):
            answers = checked_answers(self.model, self.changed(rows))
            count += int((self.goal.select(rows).reached(answers) & (answers >= 0)).sum())  # NaN is never a win
        self.forwards += len(self.x)
        return Share(count, len(self.x))


class Universal(LearnedAttack):
    """One change for all inputs, learned in passes over mini-batches; the best after a whole pass is the result.

    Attributes:
        epochs: passes over the inputs, at most.
        fooling_rate: share of the inputs to fool; learning stops there. Below 1 all inputs are looked at after every pass,
            else from the half of them on: the best is hardly ever earlier.
        batch: inputs a step.
    """

    access: ClassVar = Access.GRADIENTS
    threats: ClassVar = (Linf, L2)
    goals: ClassVar = (Untargeted, Targeted)
    epochs: int
    fooling_rate: float
    batch: int

    @abstractmethod
    def improve(self, lesson: Lesson, rows: Tensor) -> None:
        """Move the lesson's change by what these rows (b,) teach."""

    def fit(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Threat,
        *,
        seed: int = 0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Perturbation:
        """Learn, and return the attack that adds the change."""
        name = type(self).__name__
        if threat.reach == float("inf"):
            raise InputError(f"{name} learns within a radius, and {threat.name} has none. Write {threat.name}:0.1, say.")
        lesson = Lesson.begin(model, x, goal, threat, 256)
        best, fooled = lesson.delta, Share(0, len(x))
        steps = self.epochs * -(-len(x) // self.batch)
        done = 0
        for epoch in range(self.epochs):
            order = Noise(seed, torch.arange(len(x)), f"{name} {epoch}").uniform(1)[:, 0].argsort().to(x.device)
            for rows in order.split(self.batch):
                self.improve(lesson, rows)
                done += 1
                if on_step:
                    on_step(done, steps)
            if epoch < self.epochs // 2 and self.fooling_rate == 1:
                continue
            now = lesson.fooled(256)
            if now.count > fooled.count:
                best, fooled = lesson.delta, now
            if fooled.value >= self.fooling_rate:
                break
        if on_step:
            on_step(steps, steps)
        learned = Learned(
            best[0].detach(), to_config(self), threat.name, model.bounds, fooled, lesson.forwards, lesson.backwards
        )  # fmt: skip
        return Perturbation.of(learned)
