"""Fast adaptive boundary attack."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.minimum_norm.boundaries import cross, dual, gaps, inner, wrong_classes
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.losses import tie
from saddlepoint.ops.norms import expand_as
from saddlepoint.ops.search import BEYOND, draw_in
from saddlepoint.threats import L1, L2, Linf


@record
class FAB(Attack):
    """Walk along the linearized boundary, drawn to the clean input, and step back inside after every win.

    Close to the smallest change in all three norms, without a step size; a part of AutoAttack, where rows leave as soon as
    a change within the radius is found. Good where gradients mislead about the radius, poor where they vanish. DeepFool
    stops at its first win; FAB goes on from there.

    Attributes:
        steps: linearizations of one search.
        targets: how many of the likeliest wrong classes to search toward, one after the other (FAB-T); None for a single
            search toward the nearest of all, whose every step costs the gradients of all classes.
        random_start: begin at a random point half as far as the radius, or as the nearest win so far, and at the clean
            input where there is neither. For several starts use `Restarts(attack=FAB(random_start=True))`.
        overshoot: how far beyond the linearized boundary to step, relative to the step.
        bias: largest weight of the projection of the clean input against that of the iterate.
        pull: part of the change that a row keeps after a win.
        bisections: looks at the end of a search between the clean input and the nearest win, by false position.

    Deviations: a step costs one forward pass instead of two, because the linearization at a winning point also serves the
    point to which the row then steps back. Under a targeted goal `targets` has no meaning, and the search is toward where
    the target is likelier than all other classes together.
    """

    access: ClassVar = Access.GRADIENTS
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (Linf, L2, L1)
    paper: ClassVar = Paper(
        key="croce2020minimally",
        title="Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack",
        authors="Croce, Francesco and Hein, Matthias",
        year=2020,
        venue="International Conference on Machine Learning",
        arxiv="1907.02044",
    )
    steps: Count = 100
    targets: Count | None = None
    random_start: bool = False
    overshoot: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05
    bias: Share = 0.1
    pull: Share = 0.9
    bisections: Annotated[int, Field(ge=0)] = 3

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        searches = min(self.targets or 1, classes - 1)
        planes = 1 if self.targets else classes - 1
        return (self.steps + 1 + self.bisections) * searches + 1, self.steps * searches * planes

    def run(self, game: Game) -> Iterator[Rows]:
        if self.targets is None or not isinstance(game.goal, Untargeted):
            yield from self.search(game, wrong_classes(game))
            return
        searches = min(self.targets, game.clean_logits.shape[1] - 1)

        def toward() -> Iterator[Rows]:
            return self.search(game, wrong_classes(game).gather(1, game.turn[:, None]))

        yield from game.abreast(searches, toward, independent=not self.random_start)

    def search(self, game: Game, classes: Tensor) -> Iterator[Rows]:
        """Toward the nearest of the classes (b, m)."""
        delta, margin = self.begin(game), game.goal.margin(game.clean_logits)
        # The game keeps wins within the radius only; one just outside may still be drawn in.
        rows = Rows(delta=delta, classes=classes, win=torch.zeros_like(delta), size=margin + torch.inf, margin=margin)
        for _ in range(self.steps):
            delta = rows.delta.requires_grad_()
            logits = game.logits(delta)
            # Aimed at zero itself, a walk can come to rest there, on a tie that no step ends and that is no win.
            missing = gaps(game.goal, logits, rows.classes) + BEYOND * tie(logits)
            margin = game.goal.margin(logits.detach())
            self.note(game, rows, delta.detach(), margin)
            back = torch.where(expand_as(margin < 0, delta), self.pull * delta.detach(), delta.detach())
            gap, slope = nearest(game, missing, delta, back)
            rows.delta = self.step(game, back, gap, slope)
            rows = yield rows
        self.note(game, rows, rows.delta, game.margin(rows.delta).detach())
        zero, margin = torch.zeros_like(rows.win), game.goal.margin(game.clean_logits)
        draw_in(lambda z, where: game.margin(z, where=where), zero, rows.win, margin, rows.margin, self.bisections)

    def note(self, game: Game, rows: Rows, delta: Tensor, margin: Tensor) -> None:
        """Remember the nearest win."""
        size = type(game.threat).norm(delta)
        nearer = (margin < 0) & (size < rows.size)
        rows.size, rows.margin = torch.where(nearer, size, rows.size), torch.where(nearer, margin, rows.margin)
        rows.win = torch.where(expand_as(nearer, delta), delta, rows.win)

    def begin(self, game: Game) -> Tensor:
        """The clean input, or a random point on the way to the radius or to the nearest win."""
        theta = game.start(random=self.random_start)
        if not self.random_start:
            return theta
        known = game.threat.size(game.x, game.best)
        radius = torch.where(known > 0, known, torch.inf).clamp_max(game.given.reach) / 2
        share = (radius / game.threat.size(game.x, game.x + theta)).clamp_max(1)
        return theta * expand_as(torch.where(radius.isfinite(), share, 0), theta)

    def step(self, game: Game, back: Tensor, gap: Tensor, slope: Tensor) -> Tensor:
        """Between the projections of the iterate and of x onto the plane, weighted by nearness, and a little beyond both."""
        here = cross(game, slope, -gap, back)
        home = cross(game, slope, inner(slope, back) - gap, torch.zeros_like(back))
        near, far = type(game.threat).norm(here), type(game.threat).norm(home)
        bias = expand_as((near / (near + far)).nan_to_num(nan=0.0).clamp_max(self.bias), back)
        beyond = 1 + self.overshoot
        return game.project(torch.lerp(back + beyond * here, beyond * home, bias))


def nearest(game: Game, missing: Tensor, delta: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """(b,) what `point` misses to the nearest of the boundaries linearized at delta, and (b, *shape) the slope of that.

    One class after the other, so that memory does not grow with their number.
    """
    last = missing.shape[1] - 1
    least = gap = slope = torch.empty(0)
    for i in range(last + 1):
        gradient = game.gradient(missing[:, i], delta, retain=i < last)
        there = missing[:, i].detach() + inner(gradient, point - delta.detach())
        there = there.nan_to_num(nan=0.0)
        distance = (there.abs() / dual(game, gradient)).nan_to_num(nan=torch.inf)
        if i == 0:
            least, gap, slope = distance, there, gradient
        else:
            nearer = distance < least
            least, gap = torch.where(nearer, distance, least), torch.where(nearer, there, gap)
            slope = torch.where(expand_as(nearer, slope), gradient, slope)
    return gap, slope
