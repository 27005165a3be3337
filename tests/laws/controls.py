"""Attacks broken on purpose. Each must be caught by a law, or the laws are worth nothing."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.threats import L2, Linf

STEPS = 20


class Control(Attack):
    """PGD, but for one fault."""

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.BUDGET
    paper: ClassVar = PGD.paper
    threats: ClassVar[Any] = (Linf, L2)

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return STEPS + 2, STEPS

    def run(self, game: Game) -> Iterator[Rows]:
        rows = Rows(theta=self.start(game))
        for _ in range(STEPS):
            theta = rows.theta.requires_grad_()
            gradient = self.gradient(game, theta)
            rows.theta = self.move(game, theta.detach(), gradient)
            rows = yield rows
        game.submit(rows.theta)

    def start(self, game: Game) -> torch.Tensor:
        return game.start(random=True)

    def gradient(self, game: Game, theta: torch.Tensor) -> torch.Tensor:
        return game.gradient(game.margin(theta), theta)

    def move(self, game: Game, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return game.project(theta + 2.5 * game.threat.reach / STEPS * game.steepest(gradient, theta))


@record
class Sound(Control):
    """No fault: the laws must let it pass."""


@record
class NoProjection(Control):
    """Leaves the ball and the box."""

    def move(self, game: Game, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return theta + 10 * game.threat.reach * game.steepest(gradient, theta)


@record
class WrongSign(Control):
    """Climbs."""

    def move(self, game: Game, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return game.project(theta - 2.5 * game.threat.reach / STEPS * game.steepest(gradient, theta))


@record
class GlobalGenerator(Control):
    """Draws from torch's global generator."""

    def start(self, game: Game) -> torch.Tensor:
        return game.project(torch.randn_like(game.x) * game.threat.reach)


@record
class MutatesInput(Control):
    """Moves the clean input toward its own candidate, so that the change looks smaller than it is."""

    def move(self, game: Game, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        game.x.add_(game.threat.reach * game.steepest(gradient, theta)).clamp_(0, 1)
        return super().move(game, theta, gradient)


@record
class LeavesGradients(Control):
    """Calls backward, which fills the gradients of the parameters."""

    def gradient(self, game: Game, theta: torch.Tensor) -> torch.Tensor:
        game.margin(theta).sum().backward()
        assert theta.grad is not None
        return theta.grad.clone()


@record
class CouplesTheBatch(Control):
    """Divides the gradient by its norm over the batch."""

    def move(self, game: Game, theta: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient / gradient.norm().clamp_min(1e-30)
        return game.project(theta - game.threat.reach / STEPS * whole)


@record
class CheatsOnAccess(Control):
    """Declares scores and asks for gradients."""

    access: ClassVar = Access.SCORES


@record
class AsksBehindTheGame(Control):
    """Puts questions to the model that nobody counts."""

    def gradient(self, game: Game, theta: torch.Tensor) -> torch.Tensor:
        logits = game.model.logits(game.x + theta)
        return torch.autograd.grad(game.goal.margin(logits).sum(), theta)[0]


@record
class ReadsTheScale(Control):
    """Adds a constant to the raw gradient, so that the scale of the logits decides."""

    def gradient(self, game: Game, theta: torch.Tensor) -> torch.Tensor:
        raw = game.gradient(game.margin(theta) * game.scale, theta)
        return raw + 0.5 * torch.linspace(-1, 1, raw[0].numel(), dtype=raw.dtype).view_as(raw[0])


@record
class Underestimates(Control):
    """Claims fewer passes than it makes."""

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 2, 1


@record
class SpeaksAnotherLanguage(Control):
    """Calls its steps something else."""

    max_iter: int = STEPS


BROKEN: list[type[Attack]] = [
    NoProjection, WrongSign, GlobalGenerator, MutatesInput, LeavesGradients, CouplesTheBatch, CheatsOnAccess,
    AsksBehindTheGame, ReadsTheScale, Underestimates, SpeaksAnotherLanguage,
]  # fmt: skip
