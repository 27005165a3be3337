"""Examples to look at: chosen for variety, and read from the shards."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saddlepoint.core.errors import RunError
from saddlepoint.core.result import Outcome
from saddlepoint.evaluation.run import Columns, Run
from saddlepoint.evaluation.spec import Subject
from saddlepoint.report import words
from saddlepoint.report.pictures import changes, difference, picture, pictured
from saddlepoint.report.tables import class_name

# How often an outcome is shown, relative to others: what was found has most to look at.
WEIGHTS = {Outcome.FOUND.name: 4.0, Outcome.NOT_FOUND.name: 2.0}


@dataclass
class Item:
    """A record, and the inputs that belong to it once they are read."""

    subject: int
    attack: str
    record: dict[str, Any]
    x: NDArray[Any] | None = None
    x_adv: NDArray[Any] | None = None
    drawn: dict[int, dict[str, Any]] = field(default_factory=dict)


class Gallery:
    """What can be shown of a run.

    Args:
        run: whose main tasks are shown.
        most: how many examples at most.
    """

    def __init__(self, run: Run, most: int) -> None:
        self.run = run
        self.total = sum(len(run.columns(s.name, t.name)["example"]) for s in run.spec.subjects for t in run.tasks("main"))
        queues = [self._choose(i, s, most) for i, s in enumerate(run.spec.subjects)]
        turns = max(len(q) for q in queues)
        self.items = [q[turn] for turn in range(turns) for q in queues if turn < len(q)][:most]
        self._read()
        seen = [a for item in self.items for a in (item.x, item.x_adv) if a is not None]
        self.low = min([0.0, *(float(a.min()) for a in seen)])
        self.high = max([1.0, *(float(a.max()) for a in seen)])

    def shown(self, most: int, side: int) -> dict[str, Any]:
        """The first `most`, in the order of the page, in pictures of at most `side` pixels."""
        items = sorted(
            self.items[:most],
            key=lambda i: (i.subject, Outcome[i.record["outcome"]], i.record["label"], i.record["example"]),
        )
        images = [i.x for i in items if i.x is not None and pictured(i.x)]
        largest = max((max(x.shape[1:]) for x in images), default=0)
        return {
            "items": [self._drawn(item, side) for item in items],
            "total": self.total,
            "unread": sum(i.x is None for i in items),
            "pictures": bool(images),
            "scaled": (side, largest) if largest > side else None,
            "range": (self.low, self.high) if images and (self.low, self.high) != (0.0, 1.0) else None,
            "choices": self._choices(items),
        }

    def _choices(self, items: list[Item]) -> list[dict[str, Any]]:
        """What can be filtered by: pairs of a value and a name."""
        subjects = sorted({i.subject for i in items})
        labels = sorted({i.record["label"] for i in items})
        outcomes = [o.name for o in Outcome if any(i.record["outcome"] == o.name for i in items)]
        attacks = list(dict.fromkeys(t.name for t in self.run.tasks("main")))
        used = [name for name in attacks if any(i.record["task"] == name for i in items)]
        names = {i.record["task"]: i.attack for i in items}
        return [
            {"key": "subject", "label": "Model", "values": [(s, self.run.spec.subjects[s].name) for s in subjects]},
            {"key": "class", "label": "Class", "values": [(c, class_name(self.run, c)) for c in labels]},
            {"key": "outcome", "label": "Outcome", "values": [(o, words.outcome(o)) for o in outcomes]},
            {"key": "attack", "label": "Attack", "values": [(attacks.index(name), names[name]) for name in used]},
        ]

    def _choose(self, number: int, subject: Subject, most: int) -> list[Item]:
        """One after the other, always one whose outcome, class, attack and example were shown least so far."""
        tasks = self.run.tasks("main")
        tables = [self.run.columns(subject.name, t.name) for t in tasks]
        if not any(len(c["example"]) for c in tables):
            return []
        columns: Columns = {key: np.concatenate([c[key] for c in tables]) for key in tables[0]}
        attack = np.concatenate([np.full(len(c["example"]), i) for i, c in enumerate(tables)])
        outcome, label = (np.unique(columns[key].astype(str), return_inverse=True)[1] for key in ("outcome", "label"))
        both = outcome * (label.max() + 1) + label
        scale = 2 / np.array([WEIGHTS.get(o, 1.0) for o in columns["outcome"]])
        score, items = np.zeros(len(attack)), []
        for _ in range(min(most, len(attack))):
            best = int(score.argmin())
            task = tasks[attack[best]]
            record = {key: column[best : best + 1].tolist()[0] for key, column in columns.items()}
            items.append(Item(number, task.name.removesuffix(f" @ {task.threat}"), record))
            score += scale * (outcome == outcome[best]) + (label == label[best]) + (both == both[best])
            score += (attack == attack[best]) + 100 * (columns["example"] == columns["example"][best])
            score[best] = np.inf
        return items

    def _read(self) -> None:
        """The inputs of all items, every shard opened once; what is missing or damaged stays None."""
        wanted: dict[tuple[str, str, int], list[tuple[Item, str, int]]] = {}
        for item in self.items:
            record, first = item.record, self.run.spec.tasks[0].name
            start, row = self._clean_row(record["subject"], record["example"])
            if row is not None:
                wanted.setdefault((record["subject"], first, start), []).append((item, "x", row))
            if record["outcome"] == Outcome.FOUND.name and record["place"] >= 0:
                key = (record["subject"], record["task"], record["start"])
                wanted.setdefault(key, []).append((item, "x_adv", record["place"]))
        for key, needs in wanted.items():
            try:
                tensors = self.run.tensors(*key)
            except RunError:
                continue
            for item, what, row in needs:
                if what in tensors and row < len(tensors[what]):
                    setattr(item, what, np.nan_to_num(tensors[what][row].float().numpy()))

    def _clean_row(self, subject: str, example: int) -> tuple[int, int | None]:
        """Where an example's clean input is: the start of its chunk, and the row in the first task's shard."""
        spec = self.run.spec
        place = spec.examples.index(example)
        start = place - place % spec.batch
        columns = self.run.columns(subject, spec.tasks[0].name)
        have = set(columns["example"][columns["start"] == start].tolist())
        rows = [e for e in spec.examples[start : start + spec.batch] if e in have]
        return start, rows.index(example) if example in have else None

    def _drawn(self, item: Item, side: int) -> dict[str, Any]:
        """What the template needs of an item."""
        if side not in item.drawn:
            item.drawn[side] = {**self._said(item), **self._inputs(item, side)}
        return item.drawn[side]

    def _said(self, item: Item) -> dict[str, Any]:
        record, tasks = item.record, [t.name for t in self.run.tasks("main")]
        size = record["size"]
        reach = words.split(self.run.tasks("main")[tasks.index(record["task"])].threat)[1]
        return {
            "subject": item.subject,
            "name": self.run.spec.subjects[item.subject].name,
            "class": record["label"],
            "label": class_name(self.run, record["label"]),
            "clean": class_name(self.run, record["clean"]),
            "answer": class_name(self.run, record["answer"]),
            "before": confidence(record["clean_confidence"]),
            "after": confidence(record["confidence"]),
            "outcome": record["outcome"],
            "found": record["outcome"] == Outcome.FOUND.name,
            "wrong": record["outcome"] == Outcome.ALREADY_WRONG.name,
            "size": size if np.isfinite(size) else None,
            "beyond": bool(np.isfinite(size)) and size > reach * (1 + 1e-6),
            "attack": item.attack,
            "number": tasks.index(record["task"]),
            "example": record["example"],
        }

    def _inputs(self, item: Item, side: int) -> dict[str, Any]:
        made: dict[str, Any] = {"pictures": [], "changes": [], "lost": item.x is None}
        if item.x is None:
            return made
        if not pictured(item.x):
            return made if item.x_adv is None else made | {"changes": changes(item.x, item.x_adv)}
        made["pictures"] = [{"src": picture(item.x, self.low, self.high, side), "what": "clean"}]
        if item.x_adv is not None:
            src, factor = difference(item.x, item.x_adv, self.low, self.high, side)
            made["pictures"] += [
                {"src": picture(item.x_adv, self.low, self.high, side), "what": "adversarial"},
                {"src": src, "what": f"change ×{factor}"},
            ]
        return made


def confidence(value: float) -> str:
    """Probability of an answer, where the model tells."""
    return "" if np.isnan(value) else f"{value:.1%}"
