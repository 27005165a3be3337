"""How APGD chooses its steps: what differs between Linf and L2 on the one hand, and L1 on the other."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.core.threat import Threat
from saddlepoint.ops.norms import l1, unit
from saddlepoint.threats import L1
from saddlepoint.threats.ball import movable


@dataclass(frozen=True)
class Halving:
    """Linf and L2: steepest steps with momentum, whose size halves when the loss stops falling."""

    rho: float
    momentum = 0.75
    first = 2.0  # step size at the start, in radii

    def phases(self, threat: Threat, steps: int) -> list[tuple[Threat, int]]:
        """The whole search is in one set."""
        return [(threat, steps)]

    def start(self, game: Game, threat: Threat) -> Tensor:
        """Uniform in the set."""
        return threat.start(game.x, game.noise, game.model.bounds)

    def checkpoints(self, steps: int) -> set[int]:
        """After 22 % of the steps, then at periods that shrink by 3 % down to 6 %."""
        period, at, checkpoints = 0.22, 0.0, set()
        while at < 1:
            at += period
            checkpoints.add(math.ceil(at * steps - 1e-9))
            period = max(period - 0.03, 0.06)
        return checkpoints

    def begin(self, rows: Rows) -> None:
        """Columns of the rows: what was known at the checkpoint before."""
        rows.halved, rows.lowest_then = torch.ones_like(rows.value, dtype=torch.bool), rows.lowest

    def direction(self, game: Game, rows: Rows) -> Tensor:
        """The steepest, one unit long."""
        return game.steepest(rows.gradient, rows.theta)

    def adapt(self, rows: Rows, radius: float, since: int) -> Tensor:
        """Halve the steps of the rows that are stuck, and send these back to their best point."""
        stuck = rows.falls < self.rho * since
        stuck = stuck | (~rows.halved & (rows.lowest >= rows.lowest_then))
        rows.step = torch.where(stuck, rows.step / 2, rows.step)
        rows.halved, rows.lowest_then, rows.falls = stuck, rows.lowest, torch.zeros_like(rows.value)
        return stuck


@dataclass(frozen=True)
class Sparse:
    """L1: steps on the features with the largest gradients, as many as two thirds of those the best point changes."""

    momentum = 1.0
    first = 1.0

    def phases(self, threat: Threat, steps: int) -> list[tuple[Threat, int]]:
        """Three radii for 30 % of the steps, two for 30 %, then the one that counts."""
        part = 3 * steps // 10
        plan = [(L1(3 * threat.reach), part), (L1(2 * threat.reach), part), (threat, steps - 2 * part)]
        return [(ball, share) for ball, share in plan if share]

    def start(self, game: Game, threat: Threat) -> Tensor:
        """Normal noise projected onto the set, which is sparse; from a uniform point, which is not, far fewer rows fall."""
        low, high = game.model.bounds
        theta = (high - low) * game.noise.normal(*game.x.shape[1:], dtype=game.x.dtype)
        return threat.project(game.x, theta, game.model.bounds)

    def checkpoints(self, steps: int) -> set[int]:
        """Every 4 % of the steps."""
        period = max(steps // 25, 1)
        return set(range(period, steps, period))

    def begin(self, rows: Rows) -> None:
        """The columns `changed`, features that the best point changes, and `share`, of the features to move."""
        rows.changed = changed(rows.theta)
        rows.share = rows.changed / rows.theta[0].numel() / 1.5

    def direction(self, game: Game, rows: Rows) -> Tensor:
        """The signs of the largest gradients among the features that can still move, one unit long."""
        gradient = movable(rows.gradient, game.x + rows.theta, game.model.bounds)
        size = gradient.abs().flatten(1)
        rank = (rows.share * size.shape[1]).ceil().long().clamp(1, size.shape[1]) - 1
        least = size.sort(dim=1, descending=True).values.gather(1, rank[:, None])
        step = gradient.sign() * (size >= least).view_as(gradient)
        return -unit(step, l1(step))

    def adapt(self, rows: Rows, radius: float, since: int) -> Tensor:
        """Where the best point has become sparser, start again from it with a full step; elsewhere take smaller ones."""
        now = changed(rows.best)
        sparser = now < 0.95 * rows.changed
        smaller = (rows.step / 1.5).clamp_min(radius / 10)
        rows.step = torch.where(sparser, torch.full_like(smaller, radius), smaller)
        rows.share, rows.changed = now / rows.theta[0].numel() / 1.5, now
        return sparser


def changed(theta: Tensor) -> Tensor:
    """(b,) number of features changed."""
    return (theta != 0).flatten(1).sum(dim=1).to(theta.dtype)
