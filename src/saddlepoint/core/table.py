"""The rows of a batch in a game: who is in play, and what has been found of each."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saddlepoint.core.attack import Rows
from saddlepoint.core.goal import Goal
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Threat
from saddlepoint.ops.norms import expand_as

if TYPE_CHECKING:
    from saddlepoint.core.abreast import Lanes

Column = Float[Tensor, " b"]

LEDGER = {
    "won": torch.bool,  # an admissible candidate reached the goal
    "crossed": torch.bool,  # a candidate of this stage reached it, admissible or not
    "spent": torch.bool,  # may ask no more
    "retired": torch.bool,  # the attack gave the row up for this stage
    "nonfinite": torch.bool,  # the model answered NaN or infinity
    "queries": torch.int64,
    "gradients": torch.int64,
    "blank": torch.int64,  # gradients that were exactly zero
}
"""What is written down of every row, beside its best candidate."""

BEST = ("best", "theta", "key", "answer")
"""Its best candidate: the input, its theta where that is not the change itself, its key, and the model's answer to it."""


class Table:
    """All rows, and those in play.

    Attributes of the rows in play, always in step with what an attack yields:
        x: (b, *shape) clean inputs.
        goal: what the attack pursues.
        verdict: what counts; the same, unless a stage was told to pursue something narrower.
        noise: randomness keyed by example.
        index: (b,) their places among all.
    """

    def __init__(
        self, x: Tensor, goal: Goal, threat: Threat, noise: Noise, starts: Tensor | None, judged: bool, leaves_when_won: bool
    ) -> None:
        self.judged, self.leaves_when_won = judged, leaves_when_won
        self._goal, self._aim, self._noise = goal, goal, noise
        self.lanes: Lanes | None = None
        columns = {name: torch.zeros(len(x), dtype=kind, device=x.device) for name, kind in LEDGER.items()}
        columns["answer"] = torch.zeros_like(columns["queries"])
        key = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        theta = threat.zero(x) if threat.parametric else None
        self.all = Rows(x=x, starts=starts, best=x.clone() if judged else x, theta=theta, key=key, **columns)
        self.live, self.index = self.all, torch.arange(len(x), device=x.device)
        self.goal, self.verdict, self.noise = goal, goal, noise

    @property
    def x(self) -> Tensor:
        """(b, *shape) clean inputs of the rows in play."""
        return self.live.x

    @property
    def scale(self) -> Column:
        """(b,) what the model's own logits were divided by."""
        return self.live.scale

    @property
    def starts(self) -> Tensor | None:
        """(b, *shape) inputs that reach the goal already, for attacks that walk in from outside; None if none are known."""
        return self.live.starts

    @property
    def found(self) -> Bool[Tensor, " b"]:
        """Rows with a candidate that reached the goal in this stage, inside the radius or not."""
        return self.live.crossed

    @property
    def best(self) -> Float[Tensor, "b *shape"]:
        """A copy of the best candidate so far, x itself where there is none."""
        return self.live.best.clone()

    @property
    def nearest(self) -> Column:
        """How far the best candidate of a search for the nearest is, infinity where there is none."""
        return self.live.key.clone()

    @property
    def turn(self) -> Int[Tensor, " b"]:
        """(b,) which of the searches that are played abreast each row is in."""
        assert self.lanes is not None, "only a search that `abreast` plays has a turn"
        return self.lanes.turn[self.index]

    def retire(self, rows: Bool[Tensor, " b"]) -> None:
        """Say that these rows can gain no more: they leave this stage of the game at the next yield."""
        self.live.retired = self.live.retired | rows

    def write_back(self) -> None:
        """What the rows in play have found, on the table of all."""
        if self.live is self.all:
            return
        for name in (*BEST, *LEDGER):
            column = getattr(self.all, name)
            if column is not None:
                column[self.index] = getattr(self.live, name)

    def deal(self, stream: str) -> None:
        """Put all undecided rows back into play, with the noise of a new stage."""
        self.write_back()
        self.all.retired, self.all.crossed = torch.zeros_like(self.all.retired), torch.zeros_like(self.all.crossed)
        done = self.all.spent
        if self.leaves_when_won:
            done = done | self.all.won
        if self.judged:
            done = done | self.all.already | self.all.broken
        self.index = (~done).nonzero().squeeze(1)
        everybody = len(self.index) == len(done)
        self.live = self.all if everybody else self.all.select(self.index)
        self.verdict = self._goal if everybody else self._goal.select(self.index)
        self.goal = self.verdict if self._aim is self._goal else self._aim.select(self.index)
        self.noise = self._noise.select(self.index).fork(stream)

    def settle(self, rows: Rows) -> Rows | None:
        """Let rows leave; None when nobody is left."""
        leave = self.live.retired | self.live.spent
        if self.leaves_when_won:
            leave = leave | self.live.won
            if self.lanes is not None and self.live.won.any():
                self.write_back()
                leave = leave | ~self.lanes.counting(self.all.won)[self.index]
        if not leave.any():
            return rows
        stay = (~leave).nonzero().squeeze(1)
        self.write_back()
        self.index = self.index[stay]
        self.live, self.noise, same = self.live.select(stay), self.noise.select(stay), self.goal is self.verdict
        self.verdict = self.verdict.select(stay)
        self.goal = self.verdict if same else self.goal.select(stay)
        return rows.select(stay) if len(stay) else None

    def column(self, name: str, of: Int[Tensor, " f"] | None) -> Tensor:
        """A column of the rows in play, at the rows `of`; None stands for all of them in order, here and below."""
        column: Tensor = getattr(self.live, name)
        return column if of is None else column.index_select(0, of)

    def mark(self, name: str, of: Int[Tensor, " f"] | None, flags: Bool[Tensor, " f"]) -> None:
        """Write down an alarm of rows with a flag."""
        column = getattr(self.live, name)
        if of is None:
            setattr(self.live, name, column | flags)
        elif flags.any():
            setattr(self.live, name, column.index_put((of[flags],), flags[flags]))

    def keep(self, of: Int[Tensor, " f"] | None, better: Bool[Tensor, " f"], *, theta: Tensor, **candidates: Tensor) -> None:
        """Keep the `better` ones: of a row that of the smallest `key`, of equals the first whatever the order of writes.

        They are written in place, since nobody else holds these columns: `best` hands out copies.
        """
        live = self.live
        if live.theta is not None:
            candidates["theta"] = theta
        if of is None:
            for name, new in candidates.items():
                column = getattr(live, name)
                torch.where(expand_as(better, new), new, column, out=column)
            return
        chosen = better.nonzero().squeeze(1)
        rows = of.index_select(0, chosen)
        if len(set(rows.tolist())) < len(rows):  # several of a row
            key = candidates["key"].index_select(0, chosen)
            lowest = live.key.scatter_reduce(0, rows, key, "amin").index_select(0, rows)
            least = (key == lowest).nonzero().squeeze(1)
            first = torch.full_like(live.queries, len(rows)).scatter_reduce(0, rows[least], least, "amin")
            least = first[first < len(rows)]
            chosen, rows = chosen[least], rows[least]
        everyone = len(chosen) == len(of)
        for name, new in candidates.items():
            getattr(live, name).index_copy_(0, rows, new if everyone else new.index_select(0, chosen))
