"""The Linf search of Carlini and Wagner: a bound tau that shrinks whenever it is met."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saddlepoint.attacks.minimum_norm.carlini_wagner_terms import HINGED, TanhBox, adam, restart, unhinged, won
from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.ops.norms import expand_as, linf

if TYPE_CHECKING:
    from saddlepoint.attacks.minimum_norm.carlini_wagner import CarliniWagner

RAISES = 2  # how often c doubles before tau gives way


def shrink(attack: "CarliniWagner", game: Game) -> Iterator[Rows]:
    """Minimize c f(x + delta) + sum of (|delta_i| - tau)^+; every row has its own tau, c and step of Adam."""
    low, high = game.model.bounds
    box, patience = TanhBox(low, high), math.ceil(attack.steps / 2)
    w = box.inverse(game.best)
    zero = torch.zeros_like(w.flatten(1)[:, 0])
    size = linf(game.best - game.x)
    size = torch.where(size > 0, size, high - low)
    rows = Rows(
        w=w, mean=torch.zeros_like(w), square=torch.zeros_like(w), k=zero, idle=zero, raised=zero,
        constant=zero + attack.first_constant, size=size, decay=zero + attack.decay, tau=attack.decay * size,
    )  # fmt: skip
    for step in range(attack.searches * attack.steps):
        w = rows.w.requires_grad_()
        change = box.image(w) - game.x
        tau = expand_as(rows.tau, change)
        delta = change.clamp(-tau, tau)
        logits = game.logits(delta)
        value = unhinged(attack, game, logits)
        if step == 0 and attack.start is not None:
            rows.constant = balance(attack, game, value, delta)
        f = value.relu() if attack.objective in HINGED else value
        excess = (change.abs() - tau).relu().flatten(1).sum(1)
        gradient = game.gradient(rows.constant * f + excess, w)
        rows.w = w.detach()
        adapt(rows, won(attack, game, logits), linf(delta.detach()), patience)
        rows.k = rows.k + 1
        rows.w = rows.w - adam(rows, gradient, expand_as(rows.k, w), attack.step_size or 0.05)
        rows = yield rows


def balance(attack: "CarliniWagner", game: Game, value: Tensor, delta: Tensor) -> Tensor:
    """The c at which the steepest pixel is worth as much in f as it costs beyond tau."""
    steepest = linf(game.gradient(value, delta, retain=True))
    return torch.where(steepest > 0, 1 / steepest, attack.first_constant)


def adapt(rows: Rows, solved: Tensor, size: Tensor, patience: int) -> None:
    """Lower tau where it is met; where it has not been for long, double c, and if that does not help raise tau."""
    rows.size = torch.where(solved, rows.size.minimum(size), rows.size)
    rows.idle = torch.where(solved, 0, rows.idle + 1)
    stuck = rows.idle >= patience
    yields = stuck & (rows.raised >= RAISES)
    rows.constant = torch.where(stuck & ~yields, 2 * rows.constant, rows.constant)
    rows.decay = torch.where(yields, (1 + rows.decay) / 2, rows.decay)
    rows.tau = torch.where(solved | yields, rows.decay * rows.size, rows.tau)
    rows.raised = torch.where(solved | yields, 0, rows.raised + stuck)
    rows.idle = torch.where(stuck, 0, rows.idle)
    restart(rows, solved | stuck)
