"""The game between one attack and one batch: it counts, limits and judges every question put to the model.

Attacks hold no bookkeeping. They ask `margin`, `logits` or `wins` of candidates; the game keeps the best admissible
candidate of every row, lets rows go once they have won or spent their queries, and hands back those still in play.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.core.abreast import FULL, Abreast
from saddlepoint.core.answers import checked_answers, checked_logits, natural_scale, outcome, where_broken
from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.errors import AccessError, InputError, ModelError, out_of_memory
from saddlepoint.core.goal import Goal, Targeted, Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.table import Column, Table
from saddlepoint.core.threat import Threat
from saddlepoint.ops.grid import rounded
from saddlepoint.ops.losses import tie, unanswered, without
from saddlepoint.ops.norms import expand_as, linf

Candidates = Float[Tensor, "b *theta"]


class Stop(Enum):
    """When a row leaves the game."""

    FIRST_WIN = "as soon as it is won"
    NEVER = "when the attack ends"


class Settled(Exception):
    """Thrown into a stage when its last row has left."""


class Game(Table):
    """One batch in play."""

    def __init__(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Threat,
        *,
        noise: Noise,
        seeks: Seeks = Seeks.BUDGET,
        stop: Stop = Stop.FIRST_WIN,
        queries: int | None = None,
        chunk: int = 256,
        judged: bool = True,
        starts: Tensor | None = None,
        levels: int | None = None,
    ) -> None:
        super().__init__(x, goal, threat, noise, starts, judged, leaves_when_won=stop is Stop.FIRST_WIN)
        self.model, self.given, self.threat = model, threat, threat
        self.seeks, self.limit, self.chunk, self.levels = seeks, queries, chunk, levels
        self.full = min(chunk, FULL) if x.device.type == "cpu" else chunk
        self.access = Access.GRADIENTS
        self.demand = 0.0
        self.answer: Tensor | None = None
        self.forwards = self.backwards = 0
        self._played: Counter[str] = Counter()
        self._asked: Tensor | None = None
        if judged or goal.needs > Access.LABELS:
            self._look()

    # -- what an attack reads ------------------------------------------------------------------------------------

    @property
    def clean_logits(self) -> Float[Tensor, "b k"]:
        """(b, k) logits of `x`, on the scale that `logits` answers in."""
        if "logits" not in self.live.__dict__:
            self._look()
        return self.live.logits / self.live.scale[:, None]

    def start(self, random: bool) -> Candidates:
        """Where the search begins: no change, or a random point of the set."""
        if random:
            return self.threat.start(self.x, self.noise, self.model.bounds)
        return self.threat.zero(self.x)

    def project(self, theta: Candidates) -> Candidates:
        """The nearest admissible theta."""
        return self.threat.project(self.x, theta, self.model.bounds)

    def steepest(self, gradient: Candidates, theta: Candidates) -> Candidates:
        """The direction in which a loss with that gradient falls fastest, one unit of the threat's geometry long."""
        return self.threat.steepest(self.x, theta, gradient, self.model.bounds)

    # -- what an attack asks -------------------------------------------------------------------------------------

    def logits(
        self,
        theta: Tensor,
        *,
        population: bool = False,
        where: Bool[Tensor, " b"] | None = None,
        apply: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "b *m k"]:
        """Logits of candidates (b, *theta), or of m candidates a row (b, m, *theta) with `population`.

        They are divided by one number a row, which gives the clean logits a natural spread, so that no attack can
        depend on the scale of the model's. Rows outside `where`, and candidates beyond a row's query limit, are not
        asked: they answer as the clean input does. `apply` replaces the threat's way from theta to input.
        """
        self._permit(Access.SCORES)
        return self._ask(theta, True, population, where, apply)

    def wins(
        self,
        theta: Tensor,
        *,
        population: bool = False,
        where: Bool[Tensor, " b"] | None = None,
        apply: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Bool[Tensor, "b *m"]:
        """Whether the model's answer to each candidate is what the goal wants; the rest as for `logits`."""
        self._permit(Access.LABELS)
        return self._ask(theta, False, population, where, apply)

    @property
    def room(self) -> int:
        """Candidates a row that may be looked at together before a pass is full; one where every question has its price."""
        free = self.limit is None and self.model.access is Access.GRADIENTS
        return max(1, self.full // max(1, len(self.index))) if free else 1

    def ahead(
        self, theta: Float[Tensor, "b m *theta"], *, below: Column | None = None, where: Bool[Tensor, "b m"] | None = None
    ) -> tuple[Column, Int[Tensor, " b"]]:
        """Until the first of a row's m candidates whose margin is below the row's bound, in one pass.

        As if those in `where` were asked one after the other, no further than that one nor than the limit of queries: what
        lies beyond is not judged, and counted as a pass but not as a query. Returns the bound, lowered to that margin, and
        its place, m if there is none. Without a bound the first win ends it where rows leave when they have won; an attack
        that sees labels has margins of -1 and 1.
        """
        b, m = theta.shape[:2]
        if below is None:
            below = torch.full_like(self.live.key, 0.0 if self.leaves_when_won else -torch.inf)
        if where is None:
            where = torch.ones(b, m, dtype=torch.bool, device=theta.device)
        if self.limit is not None:
            where = where & (where.cumsum(1) <= (self.limit - self.live.queries)[:, None])
        row, column = where.nonzero().unbind(1)
        theta = theta.flatten(0, 1)
        of = None if m == 1 and len(row) == b else row
        if len(row) < b * m:
            theta = theta.index_select(0, row * m + column)
        x, verdict, goal = self._of(of)
        x_adv = self._input(x, theta, None)
        self.forwards += len(theta)
        answer, broken = self._answers(self.access > Access.LABELS, of, x_adv)
        margin = outcome(goal, answer, broken, x.dtype)
        lower = margin < below.index_select(0, row)
        place = torch.full_like(self.index, m).scatter_reduce(0, row, torch.where(lower, column, m), "amin")
        asked = column <= place.index_select(0, row)
        margin = torch.where(asked, margin, torch.inf)
        if self.judged:
            self.live.queries = self.live.queries.index_add(0, row, asked.long())
            if self.limit is not None:
                self.live.spent = self.live.queries >= self.limit
            broken = None if broken is None else broken & asked
            judged = margin
            if goal is not verdict:
                judged = torch.where(asked, outcome(verdict, answer, broken, x.dtype), torch.inf)
            self._judge(of, x, x_adv, theta, answer, judged, broken)
        return below.scatter_reduce(0, row, margin, "amin"), place

    def margin(self, theta: Tensor, **how: object) -> Float[Tensor, "b *m"]:
        """The goal's margin of candidates: below zero exactly when won."""
        return self.goal.margin(self.logits(theta, **how))  # type: ignore[arg-type]  # the keywords of `logits`

    def cross_entropy(self, theta: Tensor, **how: object) -> Float[Tensor, "b *m"]:
        """The goal's cross entropy loss of candidates, to be minimized."""
        return self.goal.cross_entropy(self.logits(theta, **how))  # type: ignore[arg-type]  # the keywords of `logits`

    def dlr(self, theta: Tensor, **how: object) -> Float[Tensor, "b *m"]:
        """The goal's difference of logits ratio of candidates, to be minimized."""
        return self.goal.dlr(self.logits(theta, **how))  # type: ignore[arg-type]  # the keywords of `logits`

    def gradient(self, loss: Column, theta: Candidates, *, retain: bool = False) -> Candidates:
        """Gradient of every row's loss with respect to its theta; zero where the model is not finite."""
        self._permit(Access.GRADIENTS)
        try:
            (gradient,) = torch.autograd.grad(loss.sum(), theta, retain_graph=retain)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ModelError(
                f"The model cannot be differentiated with respect to its input ({str(error).splitlines()[0]}). "
                "Use an attack without gradients: Square (scores) or HopSkipJump (labels)."
            ) from error
        self.backwards += len(gradient)
        if self.judged:
            largest = linf(gradient)
            if not largest.max().item() < torch.inf:
                gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
                largest = linf(gradient)
            blank = largest == 0
            self.live.gradients += 1 if self._asked is None else self._asked
            self.live.blank += blank if self._asked is None else blank & self._asked
        return gradient

    def jacobian(self, outputs: Float[Tensor, "b k"], theta: Candidates) -> Float[Tensor, "b k *theta"]:
        """Gradient of each of k outputs, from one forward pass and k backward ones."""
        last = outputs.shape[1] - 1
        columns = [self.gradient(outputs[:, i], theta, retain=i < last) for i in range(last + 1)]
        return torch.stack(columns, dim=1)

    def submit(self, theta: Candidates) -> None:
        """Offer a candidate whose gradient is not wanted, as the last iterate."""
        if not self.judged:
            self.answer = theta
        elif self.access <= Access.LABELS:
            self._ask(theta, False, False, None, None)
        else:
            self.logits(theta.detach())

    def insist(self, confidence: float) -> None:
        """Count only candidates that win by `confidence`, in the model's own logits."""
        self.demand = confidence

    # -- what the runner does ------------------------------------------------------------------------------------

    def play(self, attack: Attack) -> None:
        """Run the attack until it ends or the last row has left."""
        run = cast("Generator[Rows, Rows, None]", self.stage(attack))
        try:
            rows = next(run)
            while True:
                kept = self.settle(rows)
                rows = run.send(kept) if kept is not None else run.throw(Settled())
        except (StopIteration, Settled):
            return

    def stage(self, attack: Attack, toward: int | None = None) -> Iterator[Rows]:
        """Let `attack` play all undecided rows: how attacks are composed (`yield from game.stage(part)`).

        With `toward`, it pursues the wrong class of that rank in the clean logits (0 the likeliest), while whatever reaches
        the game's own untargeted goal counts.
        """
        assert self.lanes is None, "a search side by side with others plays no stage"
        before = self.threat, self.access, self.demand, self._aim
        if toward is not None:
            self._aim = self._ranked(toward)
        self._enter(attack)
        try:
            if len(self.index):
                yield from attack.run(self)
        except Settled:
            pass
        finally:
            self.threat, self.access, self.demand, self._aim = before
            self.deal(f"after {self._played.total()}")
        if not len(self.index):
            raise Settled  # an attack around this one has nobody left to play with either

    def abreast(self, searches: int, search: Callable[[], Iterator[Rows]], *, independent: bool = True) -> Iterator[Rows]:
        """Searches that differ in `turn` and in their noise alone: the first for all rows in play, then the next, ...

        Where few rows are left several are played side by side, with the same results and the same count of queries a row,
        as if one had come after the other. A search plays no stage. It may read `best` only if `independent` is false, which
        keeps them one after the other.
        """
        first = 0
        while first < searches:
            count = min(searches - first, self.room) if independent and self.judged else 1
            with Abreast(self, first, count), suppress(Settled):
                yield from search()
            if self.settle(self.live) is None:
                raise Settled
            first += count

    def _enter(self, attack: Attack) -> None:
        name = type(attack).__name__
        # Named after the attack and how often it has played: alone or as a part, its first stage draws the same numbers,
        # so a cascade breaks whatever its parts break.
        self._played[repr(attack)] += 1
        self.deal(f"{attack!r} {self._played[repr(attack)]}")
        self.model.require(attack.access, name, "Use one that needs less: Square (scores) or HopSkipJump (labels).")
        if not isinstance(self.given, attack.threats):
            known = ", ".join(t.__name__ for t in attack.threats)
            raise InputError(f"{name} searches {known}; got {self.given!r}. `saddlepoint list attacks` shows the others.")
        if not isinstance(self._aim, attack.goals):
            known = ", ".join(g.__name__ for g in attack.goals)
            raise InputError(f"{name} pursues {known}; got {type(self._aim).__name__}. Choose one of them.")
        if attack.seeks is Seeks.BUDGET and self.given.reach == float("inf"):
            raise InputError(
                f"{name} searches a set of a given size, and {self.given!r} has none. "
                "Give a radius, as in linf:8/255, or use a minimum-norm attack: DDN, DeepFool, CarliniWagner."
            )
        self.threat = self.given.unbounded() if attack.seeks is Seeks.MINIMUM else self.given
        self.access = attack.access

    def _ranked(self, rank: int) -> Goal:
        """The wrong class of that rank, for every row."""
        goal = self._goal
        if not isinstance(goal, Untargeted):
            raise InputError(f"Only an untargeted goal can be pursued class by class; got {type(goal).__name__}.")
        if "logits" not in self.all.__dict__:
            self._look()
        return Targeted(without(self.all.logits, goal.y).topk(rank + 1, dim=1).indices[:, rank])

    # -- counting and judging ------------------------------------------------------------------------------------

    def _permit(self, access: Access) -> None:
        if access > self.access:
            raise AccessError(
                f"The attack asked for {access.name.lower()} and declares {self.access.name.lower()} only. "
                f"Set its class attribute `access = Access.{access.name}`."
            )

    def _look(self) -> None:
        """Ask about the clean inputs: their logits, their scale, and which rows need no attack."""
        rows = self.all
        if self.model.access >= Access.SCORES:
            with torch.no_grad():
                logits = checked_logits(self.model.logits, rows.x)
            rows.logits, rows.clean = logits, logits.argmax(1)
            rows.broken = unanswered(logits)
            if len(logits):
                self._goal = self._aim = self._goal.bind(logits)
            rows.scale = natural_scale(logits) if self._goal.scale_free else torch.ones_like(logits[:, 0])
            won = self._goal.reached(rows.clean) if self._goal.scale_free else self._goal.margin(logits) < 0
        else:
            self.model.require(self._goal.needs, type(self._goal).__name__, "Use Untargeted or Targeted.")
            rows.clean = checked_answers(self.model, rows.x)
            rows.broken = rows.clean < 0
            won = self._goal.reached(rows.clean)
        self.forwards += len(rows.x)
        self.goal = self.verdict = self._goal
        rows.already = won & ~rows.broken
        rows.queries = rows.queries + 1

    def _ask(
        self,
        theta: Tensor,
        scores: bool,
        population: bool,
        where: Tensor | None,
        apply: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> Tensor:
        """Put candidates to the model in passes of at most `chunk`, judging each pass."""
        b, m = len(theta), theta.shape[1] if population else 1
        flat = theta.flatten(0, 1) if population else theta
        chosen = self._charge(b, m, where)
        size = self.full if population else self.chunk
        if chosen is None and m == 1 and b <= size:
            out = self._pass(None, flat, scores, apply)
            return out.unflatten(0, (b, m)) if population else out
        rows = torch.arange(b, device=theta.device).repeat_interleave(m)
        parts = (torch.arange(b * m, device=theta.device) if chosen is None else chosen).split(size)
        answers = [self._pass(rows[part], flat[part], scores, apply) for part in parts]
        if chosen is None:
            out = torch.cat(answers)
        else:
            # Whom nobody asks answers as the clean input does, which is not a win.
            out = self.clean_logits[rows] if scores else torch.zeros_like(rows, dtype=torch.bool)
            if len(chosen):
                out = out.index_put((chosen,), torch.cat(answers))
            elif theta.requires_grad:
                out = out + 0 * theta.sum()  # a constant, yet something to differentiate
        return out.unflatten(0, (b, m)) if population else out

    def _pass(
        self,
        of: Int[Tensor, " f"] | None,
        theta: Tensor,
        scores: bool,
        apply: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> Tensor:
        """Ask about candidates of the rows `of`, or of every row in order: their logits, or whether they win."""
        x, verdict, goal = self._of(of)
        x_adv = self._input(x, theta, apply)
        self.forwards += len(theta)
        answer, broken = self._answers(scores, of, x_adv)
        if self.judged:
            judged = outcome(verdict, answer.detach(), broken, x.dtype)
            self._judge(of, x, x_adv.detach(), theta.detach(), answer.detach(), judged, broken)
        return answer if scores else outcome(goal, answer, broken, x.dtype) < 0

    def _of(self, of: Int[Tensor, " f"] | None) -> tuple[Tensor, Goal, Goal]:
        """Clean inputs, verdict and goal of candidates of the rows `of`."""
        if of is None:
            return self.live.x, self.verdict, self.goal
        verdict = self.verdict.select(of)
        return self.live.x.index_select(0, of), verdict, verdict if self.goal is self.verdict else self.goal.select(of)

    def _answers(
        self, scores: bool, of: Int[Tensor, " f"] | None, x_adv: Tensor
    ) -> tuple[Tensor, Bool[Tensor, " f"] | None]:
        """Logits on the natural scale of the rows `of`, or labels; and where there is no answer, None for nowhere."""
        if not scores:
            labels = checked_answers(self.model, x_adv)
            return labels, where_broken(labels)
        logits = checked_logits(self.model.logits, x_adv)
        if not self.judged:
            return logits, None
        logits = logits / self.column("scale", of).unsqueeze(1)
        return logits, where_broken(logits.detach())

    def _input(self, x: Tensor, theta: Tensor, apply: Callable[[Tensor, Tensor], Tensor] | None) -> Tensor:
        """What the model is shown: the threat's result, in bounds and, if so asked, on the grid of `levels` values."""
        x_adv = (apply or self.threat.apply)(x, theta)
        if self.given.parametric:
            x_adv = x_adv.clamp(*self.model.bounds)
        if self.levels is None:
            return x_adv
        # A rounded change may leave a ball; without a radius, or measured by theta, there is nothing to leave.
        legal = None if self.given.parametric or self.seeks is Seeks.MINIMUM else partial(self.given.contains, x)
        with torch.no_grad():
            on_grid = rounded(x, x_adv, self.levels, self.model.bounds, legal)
        return on_grid + (x_adv - x_adv.detach())  # exactly on the grid, with the slope of what was rounded

    def _charge(self, b: int, m: int, where: Tensor | None) -> Int[Tensor, " f"] | None:
        """Charge the rows for m candidates each; the flat numbers of those to ask about, or None for all."""
        self._asked = where
        if not self.judged:
            return None
        if where is None and self.limit is None:
            self.live.queries = self.live.queries + m
            return None
        allowed = torch.full_like(self.live.queries, m) if where is None else where * m
        if self.limit is not None:
            allowed = allowed.minimum(self.limit - self.live.queries).clamp_min(0)
        self.live.queries = self.live.queries + allowed
        if self.limit is not None:
            self.live.spent = self.live.queries >= self.limit
        ranks = torch.arange(m, device=allowed.device)
        chosen = (ranks < allowed[:, None]).flatten().nonzero().squeeze(1)
        return None if len(chosen) == b * m else chosen

    @torch.no_grad()
    def _judge(
        self,
        of: Int[Tensor, " f"] | None,
        x: Tensor,
        x_adv: Tensor,
        theta: Tensor,
        answer: Tensor,
        margin: Float[Tensor, " f"],
        broken: Bool[Tensor, " f"] | None,
    ) -> None:
        """Note broken answers, and keep the best admissible candidate of every row, by the verdict's margin."""
        smallest = self.seeks is Seeks.MINIMUM
        least = tie(margin) if smallest else 0.0  # the nearest win is the one that rounding is likeliest to undo
        reached = margin < (-self.demand / self.column("scale", of) if self.demand else -least)
        if broken is not None:
            self.mark("nonfinite", of, broken)
        self.mark("crossed", of, reached)
        hopeful = reached if smallest else margin < self.column("key", of)
        pick = hopeful.nonzero().squeeze(1)
        if not len(pick):
            return
        few = 2 * len(pick) < len(hopeful)
        if few:  # a copy of them costs less than a look at all
            of = pick if of is None else of.index_select(0, pick)
            x, x_adv, theta, margin, answer = (part.index_select(0, pick) for part in (x, x_adv, theta, margin, answer))
        size = self.given.size(x, x_adv, theta)
        inside = self.given.admits(size)
        better = size < self.column("key", of) if smallest else inside
        better = better if few else better & hopeful
        key, won = (size, inside) if smallest else (margin, margin < 0)
        label = answer.argmax(1) if answer.is_floating_point() else answer
        self.keep(of, better, best=x_adv, theta=theta, key=key, won=won, answer=label)

    @torch.no_grad()
    def verify(self) -> tuple[Tensor, Bool[Tensor, " n"], Int[Tensor, " n"]]:
        """Clip the best candidates to the bounds and put those that won to the model once more.

        Returns the candidates (x where there is none), which of them reach the goal, and the answers to them.
        """
        self.write_back()
        rows = self.all
        kept = rows.key.isfinite() & ~rows.already & ~rows.broken
        best = torch.where(expand_as(kept, rows.x), rows.best, rows.x).clamp(*self.model.bounds)
        holds, answers = torch.zeros_like(kept), torch.where(kept, rows.answer, rows.clean)
        told = self.seeks is Seeks.BUDGET and type(self.model).labels is Model.labels  # the answer is in the scores
        for part in (kept & rows.won if told else kept).nonzero().squeeze(1).split(self.chunk):
            goal = self._goal.select(part)
            if goal.scale_free:
                answers[part] = checked_answers(self.model, best[part])
                holds[part] = goal.reached(answers[part])
            else:
                logits = checked_logits(self.model.logits, best[part])
                answers[part], holds[part] = logits.argmax(1), goal.margin(logits) < 0
            self.forwards += len(part)
        return best, holds & best.flatten(1).isfinite().all(1), answers
