"""Read a finished or unfinished run, and compute everything that is said about it from its records alone."""

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import saddlepoint
from saddlepoint.core.play import as_threat
from saddlepoint.core.result import ROBUST, Outcome, Share
from saddlepoint.evaluation.engine import chunks
from saddlepoint.evaluation.spec import CHECKING, DECIDING, RESCUE, Spec, Subject, Task
from saddlepoint.evaluation.store import COLUMNS, Store, write_atomically
from saddlepoint.evaluation.trust.after import DOUBTS, MOOT, checks
from saddlepoint.evaluation.trust.check import Check
from saddlepoint.evaluation.trust.prognosis import Prognosis
from saddlepoint.evaluation.trust.surrogate import COPIES, LESSONS
from saddlepoint.metrics import Bracket, bracket, pair_matrix, security_curve, smallest

Columns = dict[str, NDArray[Any]]
COSTLY = [role for role in CHECKING if role != "transfer"]
RESCUED = "attacks from more starts, without gradients, and with those of a network taught to answer alike, were played too"
ROBUST_NAMES = [o.name for o in ROBUST]


@dataclass(frozen=True)
class Verdict:
    """What may be said about a subject's robust accuracy.

    Attributes:
        state: "trusted", "repaired" (the model had to be asked otherwise than it was given), or "not trusted".
        sentence: the number and what it rests on, or why there is none.
    """

    state: Literal["trusted", "repaired", "not trusted"]
    sentence: str

    @property
    def valid(self) -> bool:
        """Whether the number may be called robust accuracy."""
        return self.state != "not trusted"


class Run:
    """A run on disk, read only.

    Args:
        folder: where `saddlepoint audit` put it.

    Raises:
        RunError: there is none, or it is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        with Store(self.folder, write=False) as store:
            self.spec = Spec.from_json(store.meta("spec"))
            self.classes: list[str] = json.loads(store.meta("classes") or "[]")
            self.environment: dict[str, str] = json.loads(store.meta("environment") or "{}")
            self.command = store.meta("command")
            self.records = store.records()
            self.costs = store.costs()
            done = store.done()
            prognoses: dict[str, Any] = json.loads(store.meta("prognoses") or "{}")
            self.prognoses = {name: Prognosis.of(data) for name, data in prognoses.items()}
            self.evidence = {s.name: json.loads(store.meta(f"evidence {s.name}") or "null") for s in self.spec.subjects}
        grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for record in self.records:
            grouped.setdefault((record["subject"], record["task"]), []).append(record)
        self._columns = {key: columns_of(rows) for key, rows in grouped.items()}
        hopeful = [s.name for s in self.spec.subjects if not self.hopeless(s)]
        self.complete = {chunk.key for chunk in chunks(self.spec, subjects=hopeful)} <= done
        # What is doubtful is so before the rescue, and because of what was played before it.
        self.doubtful = (
            [s.name for s in self.spec.subjects if s.name in hopeful and self._doubted(s)] if self.complete else []
        )
        if self.doubtful:
            self.complete = {chunk.key for chunk in chunks(self.spec, RESCUE, self.doubtful)} <= done

    def columns(self, subject: str, task: str) -> Columns:
        """Columns of one task, in the order of examples; empty when nothing is recorded yet."""
        return self._columns.get((subject, task)) or columns_of([])

    def tensors(self, subject: str, task: str, start: int) -> dict[str, Any]:
        """Tensors of a chunk."""
        with Store(self.folder, write=False) as store:
            return store.tensors(subject, task, start)

    @property
    def n(self) -> int:
        """How many examples."""
        return len(self.spec.examples)

    def tasks(self, *roles: str) -> list[Task]:
        """Tasks with one of the roles."""
        return [t for t in self.spec.tasks if t.role in roles]

    def hopeless(self, subject: Subject) -> bool:
        """Whether a model has no answers that could be attacked."""
        return subject.name in self.prognoses and self.prognoses[subject.name].hopeless

    def _doubted(self, subject: Subject) -> bool:
        """Whether more has to be tried: checks fail, or no gradient of the model itself is left."""
        known = self.prognoses.get(subject.name)
        if known is not None and known.recipe.surrogate:
            return True
        return any(not c.passed and c.name in DOUBTS for c in self._after(subject, rescued=False))

    # -- per example, aligned with spec.examples -----------------------------------------------------------------

    def _align(self, subject: Subject, task: Task, column: str, missing: Any) -> NDArray[Any]:
        columns = self.columns(subject.name, task.name)
        place = {example: i for i, example in enumerate(self.spec.examples)}
        out = np.full(self.n, missing, dtype=columns[column].dtype if columns[column].dtype != object else object)
        out[[place[e] for e in columns["example"]]] = columns[column]
        return out

    def _decided(self, subject: Subject, task: Task) -> NDArray[np.bool_]:
        wanted = set(self.spec.examples[: task.examples])
        have = set(self.columns(subject.name, task.name)["example"].tolist())
        return np.array([e not in wanted or e in have for e in self.spec.examples], dtype=bool)

    def clean(self, subject: Subject) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,) whether the clean answer is right, and whether it is known."""
        known, right = np.zeros(self.n, bool), np.zeros(self.n, bool)
        for task in self.tasks("main", "curve"):
            outcome = self._align(subject, task, "outcome", "")
            known |= outcome != ""
            right |= self._align(subject, task, "clean", -1) == self._align(subject, task, "label", -2)
        return right, known

    def distance(self, subject: Subject) -> NDArray[np.float64]:
        """(n,) size of the smallest change that any attack found, 0 where the clean answer is wrong."""
        kind = type(as_threat(self.spec.threat))
        sizes = [
            self._align(subject, t, "size", np.inf)
            for t in self.tasks(*DECIDING, "curve")
            if type(as_threat(t.threat)) is kind
        ]
        right, known = self.clean(subject)
        return smallest(sizes, right | ~known)

    def robust(self, subject: Subject) -> Bracket:
        """Robust accuracy in the main threat: worst case per example, over all attacks of the run."""
        right, known = self.clean(subject)
        decided = known.copy()
        for task in self.tasks(*DECIDING):
            if task.role in RESCUE and subject.name not in self.doubtful:
                continue
            decided &= self._decided(subject, task)
            decided &= self._align(subject, task, "outcome", "") != Outcome.NONFINITE.name
        eps = as_threat(self.spec.threat).reach
        broken = self.distance(subject) <= eps + 1e-6 * max(1.0, eps)
        return bracket(right | ~known, broken & known, decided)

    def before(self, subject: Subject) -> Share | None:
        """What the attack as it is commonly written leaves of the model as it was given; None where it cannot be run."""
        for task in self.tasks("naive"):
            outcome = self.columns(subject.name, task.name)["outcome"]
            if len(outcome):
                return Share(int(np.isin(outcome, ROBUST_NAMES).sum()), len(outcome))
        return None

    def checks(self, subject: Subject) -> list[Check]:
        """Evidence for and against the number, in the order in which it was found."""
        before = self.prognoses[subject.name].examination.checks if subject.name in self.prognoses else ()
        seen = self.evidence.get(subject.name)
        during = [Check(**c) for c in seen["checks"]] if seen else []
        if self.robust(subject).high.value <= MOOT:  # one attack's way is no evidence against all of them together
            during = [replace(c, passed=True) for c in during]
        if self.hopeless(subject):
            return [*before, *during]
        after = self._after(subject)
        if subject.name in self.doubtful:  # what failed, and what was played for that reason
            doubts = {c.name: c for c in self._after(subject, rescued=False) if not c.passed and c.name in DOUBTS}
            kept = [doubts[c.name] if c.passed and c.name in doubts else c for c in after]
            after = [replace(c, remedy=RESCUED) if c is not d else c for c, d in zip(kept, after, strict=True)]
        return [*before, *during, *after]

    def _after(self, subject: Subject, rescued: bool = True) -> list[Check]:
        right, known = self.clean(subject)
        roles = ["main", "curve", *CHECKING, *(RESCUE if rescued else ())]
        per_task = {t: self.columns(subject.name, t.name) for t in self.tasks(*roles)}
        random = subject.name in self.prognoses and self.prognoses[subject.name].examination.random
        return checks(self.spec, per_task, right[known], self.classes, random=random)

    def verdict(self, subject: Subject) -> Verdict:
        """The number and whether to believe it, in a sentence or two."""
        lines = self.checks(subject)
        failed = [c for c in lines if not c.passed and not c.remedy]
        if failed:
            return Verdict("not trusted", "Not trusted: " + "; ".join(c.finding for c in failed) + ".")
        found = self.robust(subject)
        where = f"at {self.spec.threat}, worst case over all attacks per example"
        if found.undecided:
            low, high = f"{found.low.value:.1%}", f"{found.high.value:.1%}"
            undecided = f"{found.undecided} of {self.n} examples are undecided"
            number = f"Robust accuracy is between {low} and {high} {where}; {undecided}."
        else:
            number = f"Robust accuracy is at most {found} {where}."
        repaired = [c for c in lines if not c.passed]
        if not repaired:
            return Verdict("trusted", number)
        why = "; ".join(dict.fromkeys(c.finding for c in repaired))
        known = self.prognoses.get(subject.name)
        words = known.recipe.words() if known else []
        words += [c.remedy for c in repaired if c.stage == "after" or not words]
        what = "; ".join(dict.fromkeys(words))
        naive = self.before(subject)
        common = f"PGD as commonly written leaves {naive}" if naive else "PGD as commonly written cannot be run"
        return Verdict("repaired", f"{number} Repaired: {why}. Remedy: {what}. {common}.")

    # -- what is said --------------------------------------------------------------------------------------------

    def attack_row(self, subject: Subject, task: Task) -> dict[str, Any]:
        """The line of one task."""
        columns = self.columns(subject.name, task.name)
        outcome = columns["outcome"]
        initially_right = outcome != Outcome.ALREADY_WRONG.name
        if task.target is None:  # a model that answers NaN to the clean input was not right
            initially_right = initially_right & (columns["clean"] == columns["label"])
        found = initially_right & (outcome == Outcome.FOUND.name)
        forwards, backwards, seconds = self.costs.get((subject.name, task.name), (0, 0, 0.0))
        sizes = np.where(np.isfinite(columns["size"]), columns["size"], np.inf)[initially_right]
        return {
            "task": task.name,
            "attack": task.attack,
            "threat": task.threat,
            "role": task.role,
            "target": task.target,
            "success": Share(int(found.sum()), int(initially_right.sum())).data(),
            "robust": Share(int(np.isin(outcome, ROBUST_NAMES).sum()), len(outcome)).data(),
            "median_size": finite(np.quantile(sizes, 0.5, method="lower")) if len(sizes) else None,
            "outcomes": {o.name: int((outcome == o.name).sum()) for o in Outcome},
            "queries": int(columns["queries"].sum()),
            "gradients": int(columns["gradients"].sum()),
            "forwards": forwards,
            "backwards": backwards,
            "seconds": seconds,
        }

    def curve(self, subject: Subject) -> list[dict[str, Any]]:
        """Accuracy at every radius of the run."""
        radii = sorted({0.0} | {as_threat(t.threat).reach for t in self.tasks("main", "curve")})
        _, known = self.clean(subject)
        shares = security_curve(self.distance(subject)[known], radii)
        return [{"eps": radius, **s.data()} for radius, s in zip(radii, shares, strict=True)]

    def pairs(self, subject: Subject) -> dict[str, Any] | None:
        """Source-target matrices: success rate, and mean L2 and threat size of what succeeded; None if not run."""
        tasks = self.tasks("pairs")
        if not tasks:
            return None
        rows = [r for t in tasks for r in self.records if r["subject"] == subject.name and r["task"] == t.name]
        rows = [r for r in rows if r["clean"] == r["label"]]
        columns = columns_of(rows)
        won = columns["outcome"] == Outcome.FOUND.name
        k = len(tasks)

        def matrix(column: NDArray[np.float64], chosen: NDArray[np.bool_]) -> list[list[float | None]]:
            made = pair_matrix(columns["label"][chosen], columns["target"][chosen].astype(np.int64), column[chosen], k)
            return [[finite(v) for v in row] for row in made]

        return {
            "n": len(rows),
            "success": matrix(won.astype(float), np.ones(len(rows), bool)),
            "l2": matrix(columns["l2"], won),
            "size": matrix(columns["size"], won),
        }

    def trust(self, subject: Subject) -> dict[str, Any] | None:
        """What was found before and in the attacks, how the model was asked, and what the checks cost; None if not known."""
        known, seen = self.prognoses.get(subject.name), self.evidence.get(subject.name)
        if known is None:
            return None
        found, draws = known.examination, known.recipe.draws

        def played(*roles: str) -> int:
            """Passes of the network itself: as many for each question as draws answer it."""
            cost = {t: sum(self.costs.get((subject.name, t.name), (0, 0, 0.0))[:2]) for t in self.tasks(*roles)}
            return sum(passes * (1 if t.role == "naive" else draws) for t, passes in cost.items())

        asked = seen["forwards"] + seen["backwards"] if seen else 0
        for task in self.tasks("transfer"):  # played on another network, which is taught by this one's answers
            if rows := len(self.columns(subject.name, task.name)["example"]):
                asked += rows + COPIES * min(self.n, LESSONS)
        passes = {
            "attacks": played("main", "curve", "pairs", *RESCUE),
            "checks": played(*COSTLY) + draws * asked + found.forwards + found.backwards,
            "repairs": known.spent,
        }
        return {**known.data(), "words": known.recipe.words(), "evidence": seen, "passes": passes}

    def result(self) -> dict[str, Any]:
        """Everything that is said, as versioned plain data: the content of result.json."""
        from saddlepoint.evaluation.trust.after import bibliography

        subjects = []
        for s in self.spec.subjects:
            right, known = self.clean(s)
            robust, verdict, naive = self.robust(s), self.verdict(s), self.before(s)
            bracket = {"low": robust.low.data(), "high": robust.high.data(), "undecided": robust.undecided}
            subjects.append(
                {
                    "name": s.name,
                    "clean": Share(int(right.sum()), int(known.sum())).data(),
                    "robust": bracket if verdict.valid else None,
                    "before": naive.data() if naive else None,
                    "verdict": {"state": verdict.state, "valid": verdict.valid, "sentence": verdict.sentence},
                    "trust": self.trust(s),
                    "checks": [c.data() for c in self.checks(s)],
                    "attacks": [self.attack_row(s, t) for t in self.spec.tasks],
                    "curve": self.curve(s),
                    "pairs": self.pairs(s),
                }
            )
        return {
            "schema": 1,
            "saddlepoint": saddlepoint.__version__,
            "digest": self.spec.digest,
            "complete": self.complete,
            "threat": self.spec.threat,
            "n": self.n,
            "classes": self.classes,
            "subjects": subjects,
            "spec": json.loads(self.spec.to_json()),
            "environment": self.environment,
            "command": self.command,
            "bibtex": bibliography(self.spec),
        }

    def write(self) -> Path:
        """Write result.json and records.csv beside the store; the path of the former."""
        path = self.folder / "result.json"
        write_atomically(path, json.dumps(self.result(), indent=1, allow_nan=False).encode())
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.records)
        write_atomically(self.folder / "records.csv", text.getvalue().encode())
        return path


def columns_of(rows: list[dict[str, Any]]) -> Columns:
    """Rows as arrays; a missing size is infinite, a missing confidence NaN."""
    out: Columns = {}
    for name in COLUMNS:
        values = [row[name] for row in rows]
        if name == "size":
            out[name] = np.array([np.inf if v is None else v for v in values], dtype=float)
        elif name in ("confidence", "clean_confidence", "linf", "l2", "l1", "l0"):
            out[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
        elif name in ("subject", "task", "outcome"):
            out[name] = np.array(values, dtype=object)
        else:
            out[name] = np.array([-1 if v is None else v for v in values], dtype=np.int64)
    return out


def finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return float(value) if np.isfinite(value) else None
