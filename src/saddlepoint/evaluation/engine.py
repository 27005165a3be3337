"""Carry out a specification, chunk by chunk, and go on where an earlier process stopped."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from saddlepoint.core.attack import Seeks
from saddlepoint.core.errors import ModelError
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Goal, Targeted, Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.play import attack
from saddlepoint.core.result import Outcome, Result
from saddlepoint.evaluation.spec import DECIDING, RESCUE, Spec, Task
from saddlepoint.evaluation.store import Store
from saddlepoint.models.guided import Guided, Judged
from saddlepoint.ops import norms


class Examples(Protocol):
    """What the engine needs of a data set."""

    def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
        """Inputs and labels."""
        ...


@dataclass(frozen=True)
class Chunk:
    """One task on some of the examples of one subject: what is acknowledged at once."""

    subject: str
    task: Task
    start: int
    ids: tuple[int, ...]
    first: bool

    @property
    def key(self) -> tuple[str, str, int]:
        """What names it in the store."""
        return self.subject, self.task.name, self.start


@dataclass
class Contender:
    """A subject's model, in every form in which it is attacked.

    Attributes:
        shipped: as it was given.
        repair: makes of it what the attacks ask; called once, if at all.
        teach: makes of that a network that was taught to answer alike; likewise.
    """

    shipped: Model
    repair: Callable[[Model], Model]
    teach: Callable[[Model], Model]

    @cached_property
    def attacked(self) -> Model:
        """As the attacks ask it, which is the same where nothing had to be repaired."""
        return self.repair(self.shipped)

    @cached_property
    def taught(self) -> Model:
        """A network that answers about alike, and has gradients."""
        return self.teach(self.attacked)

    def plays(self, role: str) -> Model:
        """The model that a task of this role attacks."""
        if role == "naive":
            return self.shipped
        if role == "transfer":
            return Judged(self.taught, self.attacked)
        return Guided(self.attacked, self.taught) if role == "guided" else self.attacked


def chunks(spec: Spec, roles: Collection[str] | None = None, subjects: Collection[str] | None = None) -> Iterator[Chunk]:
    """The work of a specification: task by task, so that a budget that ends early has tried every example alike.

    Args:
        spec: of the run.
        roles: of the tasks; None for all that are played without being needed.
        subjects: by name; None for all.
    """
    for number, task in enumerate(spec.tasks):
        if task.role in RESCUE if roles is None else task.role not in roles:
            continue
        examples = spec.examples[: task.examples]
        for subject in spec.subjects:
            if subjects is not None and subject.name not in subjects:
                continue
            for start in range(0, len(examples), spec.batch):
                yield Chunk(subject.name, task, start, examples[start : start + spec.batch], number == 0)


def execute(
    spec: Spec,
    contenders: Mapping[str, Contender],
    data: Examples,
    folder: Path,
    *,
    roles: Collection[str] | None = None,
    subjects: Collection[str] | None = None,
    deadline: float | None = None,
    on_chunk: Callable[[Chunk, bool], None] | None = None,
) -> bool:
    """Do what is not done yet; True when nothing is left.

    Args:
        spec: what to do.
        contenders: by subject name.
        data: where `spec.examples` are.
        folder: the run's.
        roles, subjects: as for `chunks`.
        deadline: on the monotonic clock; no chunk begins later, and what is left stays undecided.
        on_chunk: called after each chunk, with whether it had been done before.

    Raises:
        RunError: the folder cannot be used; what it holds stays readable.
    """
    with Store(folder, spec.to_json()) as store:
        done = store.done()
        for chunk in chunks(spec, roles, subjects):
            if chunk.key not in done:
                if deadline is not None and time.monotonic() > deadline:
                    return False
                _play(spec, chunk, contenders[chunk.subject], data, store)
            if on_chunk:
                on_chunk(chunk, chunk.key in done)
    return True


def _play(spec: Spec, chunk: Chunk, contender: Contender, data: Examples, store: Store) -> None:
    started = time.monotonic()
    model = contender.plays(chunk.task.role)
    method, threat = chunk.task.make()
    x, y = data.batch(chunk.ids)
    ids = torch.tensor(chunk.ids)
    if chunk.task.target is not None:
        other = y != chunk.task.target
        x, y, ids = x[other], y[other], ids[other]
    target = chunk.task.target
    goal: Goal = Untargeted(y, model.rejection) if target is None else Targeted(torch.full_like(y, target))
    # The smallest change matters to the report, so minimum-norm attacks go on after the first win inside the radius.
    stop = Stop.NEVER if method.seeks is Seeks.MINIMUM else Stop.FIRST_WIN
    how: dict[str, Any] = {"seed": spec.seed, "batch": spec.batch, "queries": spec.queries}
    try:
        result = attack(model, x, goal, threat, method, ids=ids, stop=stop, **how)
    except ModelError:
        if chunk.task.role != "naive":
            raise
        store.add(*chunk.key, [], {}, (0, 0, time.monotonic() - started))  # such an attack cannot be run on such a model
        return
    # What a random model takes back, or rounding: once more, for the widest margin instead of the first win.
    again = result.rows(Outcome.ESCAPED) & (chunk.task.role in DECIDING)
    if again.any() and stop is Stop.FIRST_WIN and spec.queries is None:
        more = attack(model, x[again], goal.select(again), threat, method, ids=ids[again], stop=Stop.NEVER, **how)
        result = result.replaced(again, more)
    records, found = _records(model, x, y, ids, chunk.task.target, result)
    tensors = {"x_adv": result.x_adv[found]}
    if chunk.first:
        tensors["x"] = x
    cost = (result.forwards, result.backwards, time.monotonic() - started)
    store.add(*chunk.key, records, tensors, cost)


def _records(
    model: Model, x: Tensor, y: Tensor, ids: Tensor, target: int | None, result: Result
) -> tuple[list[dict[str, Any]], Tensor]:
    """One record an example, and which rows have an adversarial input worth keeping."""
    x = x.to(result.x_adv)
    found = result.size.isfinite() & ~result.rows(Outcome.ALREADY_WRONG)
    delta = torch.where(norms.expand_as(found, x), result.x_adv - x, 0)
    columns: dict[str, list[Any]] = {
        "example": ids.tolist(),
        "label": y.tolist(),
        "target": [target] * len(y),
        "outcome": [Outcome(o).name for o in result.outcome.tolist()],
        "clean": result.clean.tolist(),
        "answer": result.answer.tolist(),
        "clean_confidence": _confidence(model, x),
        "confidence": _confidence(model, result.x_adv),
        "size": [s if s < float("inf") else None for s in result.size.tolist()],
        **{name: getattr(norms, name)(delta).tolist() for name in ("linf", "l2", "l1", "l0")},
        "queries": result.queries.tolist(),
        "gradients": result.gradients.tolist(),
        "blank": result.blank.tolist(),
        "place": torch.where(found, found.cumsum(0) - 1, -1).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], found


def _confidence(model: Model, x: Tensor) -> list[float | None]:
    """Probability of the answer, None where it is not known or not a number."""
    if model.access < Access.SCORES or not len(x):
        return [None] * len(x)
    with model.session(), torch.no_grad():
        top = model.logits(x).softmax(1).amax(1).tolist()
    return [p if p == p else None for p in top]
