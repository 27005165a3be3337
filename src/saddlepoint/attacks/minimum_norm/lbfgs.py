"""Box-constrained L-BFGS."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import tie
from saddlepoint.ops.norms import expand_as, l2, linf
from saddlepoint.threats import L2

ENOUGH = 1e-4  # Armijo: the share of the promised fall that a step must bring
TOLERANCE = 1e-4  # a search has converged once a step lowers J by less, relative to 1 + |J|
CUTS = 10  # of a step, by four, before a search ends


@record
class LBFGS(Attack):
    """Minimize c |r|^2 + loss(x + r) in the box by L-BFGS, and search for the largest c that still wins.

    The attack with which adversarial examples were found. Curvature helps where the loss is smooth; on networks of rectified
    linear units DDN and CarliniWagner get closer. Not the L-BFGS of `torch.optim`, which treats a batch as one vector.

    Attributes:
        steps: evaluations of each search, those of its line searches included.
        searches: values of c to try a row.
        first_constant: the first c; None reads it off the slope of the loss at x.
        history: pairs of steps and gradient changes that describe the curvature; memory grows with it.
        loss: "cross_entropy" as in the paper, or "margin", which a saturated network does not flatten either.

    The constant multiplies the distance, so a larger c means a smaller r, and the best r belongs to the largest c that
    still wins. (Where a constant multiplies the loss, as in CarliniWagner, it is the smallest.) The search multiplies or
    divides c by ten until one c wins and another does not, and then bisects their logarithms.

    Deviations: the squared distance, since |r| has no gradient at 0. Every row has its own curvature, step length and c. Any
    point that wins counts, not only where a search ends. The cross entropy is used as the log-odds, which does not saturate.
    Bounds are kept by projection: coordinates that the gradient holds at a bound are left out of the direction. Each search
    goes on from the best win so far.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L2,)
    slack: ClassVar = 1.1
    paper: ClassVar = Paper(
        key="szegedy2014intriguing",
        title="Intriguing Properties of Neural Networks",
        authors="Szegedy, Christian and Zaremba, Wojciech and Sutskever, Ilya and Bruna, Joan and Erhan, Dumitru"
        " and Goodfellow, Ian and Fergus, Rob",
        year=2014,
        venue="International Conference on Learning Representations",
        arxiv="1312.6199",
    )
    steps: Count = 30
    searches: Count = 10
    first_constant: StepSize | None = None
    history: Count = 5
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        steps = self.searches * self.steps
        return steps + 2, steps

    def run(self, game: Game) -> Iterator[Rows]:
        rows = self.begin(game)
        for _ in range(self.searches * self.steps):
            delta = rows.trial.requires_grad_()
            logits = game.logits(delta)
            loss = getattr(game.goal, self.loss)(logits)
            slope = game.gradient(loss, delta)
            delta, loss = delta.detach(), loss.detach()
            rows.constant = torch.where(rows.constant.isnan(), crossing(loss, slope), rows.constant)
            value = loss + rows.constant * l2(delta).square()
            gradient = slope + 2 * expand_as(rows.constant, delta) * delta
            won = game.goal.margin(logits.detach()) < -tie(logits)
            ended = self.judge(game, rows, delta, value, gradient, won)
            self.renew(game, rows, ended)
            rows = yield rows

    def begin(self, game: Game) -> Rows:
        """The first trial of the first search is x itself."""
        zero, r = torch.zeros_like(game.x.flatten(1)[:, 0]), torch.zeros_like(game.x)
        past = torch.zeros_like(game.x.flatten(1))[:, None].repeat(1, self.history, 1)
        return Rows(
            trial=r, at=r, value=zero + torch.inf, gradient=r, direction=r, length=zero + 1, won=zero > 0,
            moves=past, changes=past, known=zero > 0, cuts=zero, used=zero, searches=zero,
            constant=zero + (self.first_constant or torch.nan), wins=zero, fails=zero + torch.inf,
        )  # fmt: skip

    def judge(self, game: Game, rows: Rows, delta: Tensor, value: Tensor, gradient: Tensor, won: Tensor) -> Tensor:
        """Take the trial or cut the step, and say where to look next; returns which searches have ended."""
        promised = ((delta - rows.at) * rows.gradient).flatten(1).sum(1)
        taken = value <= rows.value + ENOUGH * promised
        converged = taken & (rows.value - value < TOLERANCE * (1 + value.abs()))
        learn(rows, taken & rows.value.isfinite(), delta - rows.at, gradient - rows.gradient)
        where = expand_as(taken, delta)
        rows.at, rows.gradient = torch.where(where, delta, rows.at), torch.where(where, gradient, rows.gradient)
        rows.value, rows.won = torch.where(taken, value, rows.value), torch.where(taken, won, rows.won)
        rows.direction = torch.where(where, downhill(game, rows), rows.direction)
        whole = torch.where(rows.known, 1.0, 1 / (2 * rows.constant))  # at first all that is known is how c bends J
        rows.length = torch.where(taken, whole, rows.length / 4)
        rows.cuts, rows.used = torch.where(taken, 0, rows.cuts + 1), rows.used + 1
        rows.trial = game.project(rows.at + expand_as(rows.length, delta) * rows.direction)
        return converged | (linf(rows.direction) == 0) | (rows.cuts > CUTS) | (rows.used >= self.steps)

    def renew(self, game: Game, rows: Rows, ended: Tensor) -> None:
        """Where a search has ended, choose the next c and begin again from the best win so far, or from x."""
        rows.wins = torch.where(ended & rows.won, rows.wins.maximum(rows.constant), rows.wins)
        rows.fails = torch.where(ended & ~rows.won, rows.fails.minimum(rows.constant), rows.fails)
        between = (rows.wins * rows.fails).sqrt()
        beyond = torch.where(rows.fails.isinf(), 10 * rows.constant, rows.constant / 10)
        following = torch.where((rows.wins > 0) & rows.fails.isfinite(), between, beyond)
        rows.constant = torch.where(ended, following, rows.constant)
        rows.searches = rows.searches + ended
        game.retire(rows.searches >= self.searches)
        where, begin = expand_as(ended, rows.at), game.best - game.x
        rows.trial, rows.at = torch.where(where, begin, rows.trial), torch.where(where, begin, rows.at)
        rows.gradient, rows.value = torch.where(where, 0, rows.gradient), torch.where(ended, torch.inf, rows.value)
        rows.used, rows.cuts = torch.where(ended, 0, rows.used), torch.where(ended, 0, rows.cuts)
        rows.moves, rows.changes = (past.masked_fill(ended[:, None, None], 0) for past in (rows.moves, rows.changes))
        rows.known = rows.known & ~ended


def crossing(loss: Tensor, slope: Tensor) -> Tensor:
    """The c whose minimum would lie on the boundary if the loss were linear: |slope|^2 / 2 loss."""
    c = l2(slope).square() / (2 * loss.abs().clamp_min(1))
    return torch.where(c > 0, c, 1.0)


def learn(rows: Rows, where: Tensor, move: Tensor, change: Tensor) -> None:
    """Remember the step just taken if J curved upward along it; the oldest one is forgotten."""
    move, change = move.flatten(1), change.flatten(1)
    use = where & bent(move, change)
    for name, new in (("moves", move), ("changes", change)):
        past = getattr(rows, name)
        setattr(rows, name, torch.where(use[:, None, None], torch.cat([past[:, 1:], new[:, None]], dim=1), past))
    rows.known = rows.known | use


def bent(move: Tensor, change: Tensor) -> Tensor:
    """Whether the gradient changed along the move as that of a convex function does, by more than rounding."""
    return (move * change).sum(-1) > 1e-8 * move.norm(dim=-1) * change.norm(dim=-1)


def downhill(game: Game, rows: Rows) -> Tensor:
    """Inverse Hessian times minus gradient (the two-loop recursion), on the coordinates that the bounds leave free."""
    low, high = game.model.bounds
    at, gradient = (game.x + rows.at).flatten(1), rows.gradient.flatten(1)
    free = ~(((at <= low) & (gradient > 0)) | ((at >= high) & (gradient < 0)))
    gradient, moves, changes = gradient * free, rows.moves * free[:, None], rows.changes * free[:, None]
    good = bent(moves, changes)  # what was bent may no longer be among the free coordinates
    curve = torch.where(good, (moves * changes).sum(2), torch.inf)
    q, shares = gradient, torch.zeros_like(curve)
    for i in reversed(range(good.shape[1])):
        shares[:, i] = (moves[:, i] * q).sum(1) / curve[:, i]
        q = q - shares[:, i, None] * changes[:, i]
    scale = torch.ones_like(q[:, 0])
    for i in range(good.shape[1]):  # the newest that is good
        scale = torch.where(good[:, i], curve[:, i] / changes[:, i].square().sum(1), scale)
    q = q * scale[:, None]
    for i in range(good.shape[1]):
        q = q + (shares[:, i] - (changes[:, i] * q).sum(1) / curve[:, i])[:, None] * moves[:, i]
    q = q * free
    falls = (q * gradient).sum(1) > 0
    return -torch.where(falls[:, None], q, gradient).view_as(rows.at)
