"""Natural evolution strategies that see the top classes only."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.score.estimate import choose, slope
from saddlepoint.attacks.score.nes import LIMITED
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.ops.norms import expand_as
from saddlepoint.threats import L2, Linf

TRIES = 5  # of a proposal, before a new gradient is estimated
SMALLEST = 1 / 64  # of the full step, and of the full way nearer


@record
class PartialNES(Attack):
    """Begin at an input that reaches the goal and walk to x, by estimated gradients, without losing the target from the top.

    The paper's second threat model, partial information: of each answer only the scores of the `top` classes are read. A
    targeted goal needs images of the target class, the argument `starts` of `attack`; for an untargeted one random inputs
    do. A row without a start ends as NOT_FOUND. With all scores, NES and Square are far cheaper.

    Attributes:
        steps: gradient estimates.
        samples: queries an estimate, in pairs on both sides of the point.
        sigma: standard deviation of the probes, in input units.
        step_size: share of the current distance from x that one step moves.
        shrink: share of the current distance by which one step comes nearer.
        momentum: how much of the estimates before goes into the next.
        top: classes that the model names; never is more of an answer read than those and their scores.
        attempts: random inputs to try as a start.

    Deviations: step and shrinkage are shares of the current distance instead of fixed, so that they suit any radius. A
    proposal that loses the target is repeated with less shrinkage, then with none, and after that the next step is halved.
    With several top classes the loss is the log-odds of the target among them. Probes whose answer does not name the target
    count as bad, as far as the answer tells; the paper discards them. An untargeted goal holds whatever wrong class
    comes first. Probes are clipped to the bounds. L2 is searched, too.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    slack: ClassVar = 1.5
    paper: ClassVar = LIMITED
    steps: Count = 200
    samples: Annotated[int, Field(ge=2, multiple_of=2)] = 50
    sigma: StepSize = 1e-3
    step_size: Share = 0.1
    shrink: Annotated[float, Field(gt=0, lt=1)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    top: Count = 1
    attempts: Count = 20

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps * (self.queries() + TRIES) + self.attempts + 2, 0

    def queries(self) -> int:
        """Of one gradient estimate."""
        return self.samples

    def run(self, game: Game) -> Iterator[Rows]:
        none = torch.zeros_like(game.x.flatten(1)[:, 0], dtype=torch.bool)
        rows = Rows(delta=torch.zeros_like(game.x), found=none)
        for i in range(self.attempts):
            there = self.start(game, i) - game.x
            now = self.begins(game, there, ~rows.found) & ~rows.found
            rows.delta, rows.found = choose(now, there, rows.delta), rows.found | now
            rows = yield rows
            if rows.found.all():
                break
        game.retire(~rows.found)
        rows = yield rows
        rows.radius = game.threat.size(game.x, game.x + rows.delta)
        rows.scale = rows.pace = torch.ones_like(rows.radius)
        rows.mean = torch.zeros_like(rows.delta)
        for _ in range(self.steps):
            draw = partial(game.noise.normal, dtype=game.x.dtype)
            value = partial(self.value, game)
            gradient = slope(game, rows.delta, value, draw, self.samples // 2, self.sigma)
            rows.mean = self.momentum * rows.mean + (1 - self.momentum) * gradient
            rows = yield rows
            self.advance(game, rows)
            rows = yield rows

    def start(self, game: Game, i: int) -> Tensor:
        """The i-th input (b, *shape) to try: a given one, or noise, some of it darker."""
        if i == 0 and game.starts is not None:
            return game.starts
        low, high = game.model.bounds
        noise = game.noise.fork(f"start {i}").uniform(*game.x.shape[1:], dtype=game.x.dtype)
        return low + (high - low) / (1 + i % 4) * noise

    def advance(self, game: Game, rows: Rows) -> None:
        """Step and come nearer; where that loses the target, come less near, in the end not at all, or stay."""
        low, high = game.model.bounds
        length = self.step_size * rows.pace * rows.radius
        there = rows.delta + expand_as(length, game.x) * game.steepest(rows.mean, rows.delta)
        moved = torch.zeros_like(rows.found)
        for tries_left in range(TRIES - 1, -1, -1):
            share = self.shrink * rows.scale if tries_left else 0.0
            nearer = (rows.radius * (1 - share)).clamp_min(game.threat.reach)
            proposed = type(game.threat).nearest(there, nearer, low - game.x, high - game.x)
            held = self.holds(game, proposed, ~moved) & ~moved
            rows.delta, rows.radius = choose(held, proposed, rows.delta), torch.where(held, nearer, rows.radius)
            moved = moved | held
            rows.scale = torch.where(moved, rows.scale, rows.scale / 2)
            if moved.all():
                break
        rows.scale = torch.where(moved, 4 * rows.scale, rows.scale).clamp(SMALLEST, 1)
        rows.pace = torch.where(moved, 2 * rows.pace, rows.pace / 2).clamp(SMALLEST, 1)

    def seen(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities and numbers (..., top) of the classes that the model names."""
        named = logits.log_softmax(-1).topk(min(self.top, logits.shape[-1]), dim=-1)
        return named.values, named.indices

    def begins(self, game: Game, delta: Tensor, where: Tensor) -> Tensor:
        """Whether candidates reach the goal."""
        return game.goal.reached(self.seen(game.logits(delta, where=where))[1][:, 0])

    def holds(self, game: Game, delta: Tensor, where: Tensor) -> Tensor:
        """Whether the target is named, or another class than the true one comes first."""
        classes = self.seen(game.logits(delta, where=where))[1]
        return (classes == game.goal.y[:, None]).any(1) if toward(game) else game.goal.reached(classes[:, 0])

    def value(self, game: Game, probes: Tensor) -> Tensor:
        """What to minimize: the log-odds of the goal's class among those named, with the sign that the goal gives them.

        Where it is not named, it counts as no better than the last one named. With one class named there is no other score
        to compare with, but the top score is least on the boundary: beyond it, it counts with the other sign.
        """
        scores, classes = self.seen(game.logits(probes, population=True))
        of_class = classes == game.goal.y[:, None, None]
        named, last = of_class.any(-1), scores[..., -1]
        if scores.shape[-1] == 1:
            odds = torch.where(named, last, 2 * last.amin(1, keepdim=True) - last)
        else:
            score = torch.where(named, torch.where(of_class, scores, 0.0).sum(-1), last)
            odds = score - scores.masked_fill(of_class, -torch.inf).logsumexp(-1)
        return -odds if toward(game) else odds


def toward(game: Game) -> bool:
    """Whether the goal is to reach a class, not to leave one."""
    return isinstance(game.goal, Targeted)
