"""After the attacks: what must hold between them if they worked, computed from records alone.

The lines are the checklist of Carlini et al., "On evaluating adversarial robustness", 2019, the flags of Croce and Hein's
AutoAttack, ICML 2020, and two indicators of Pintor et al., NeurIPS 2022. An example that was broken is a proof; all doubt is
about those that stand. Where next to none stands, no line can fail for weakness.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saddlepoint.core.model import Access
from saddlepoint.core.paper import cite
from saddlepoint.core.play import as_threat
from saddlepoint.core.result import ROBUST, Outcome
from saddlepoint.evaluation.spec import DECIDING, Spec, Task
from saddlepoint.evaluation.trust.check import Check

Columns = Mapping[str, NDArray[Any]]
Which = Callable[[Task], bool]
ROBUST_NAMES = [o.name for o in ROBUST]
DOUBTS = (
    "gradients", "iterative beats one step", "gradients beat no gradients", "gradients beat noise",
    "the attack beats transfer", "more steps change nothing", "larger radii break more", "no radius, no robustness",
)  # fmt: skip
"""Lines about the strength of the attacks: where one of them fails, more is tried."""
MOOT = 0.05  # share of standing examples below which it does not matter how the others were broken
RANDOM_ESCAPES = 0.05  # share of examples whose only wins over a random model other draws may take back


def checks(
    spec: Spec, tasks: Mapping[Task, Columns], right: NDArray[np.bool_], classes: Sequence[str], *, random: bool = False
) -> list[Check]:
    """All checks of one subject.

    Args:
        spec: of the run.
        tasks: the columns of its tasks, of all roles but "pairs".
        right: whether the clean answers are right.
        classes: names of the classes.
        random: whether the model's answers are.
    """
    records = _Records(spec, tasks)
    lines = [
        _clean(right, max(2, len(classes))),
        _finite(tasks),
        records.repeatable(random),
        records.gradients(),
        records.iterative(),
        records.no_better("gradients beat no gradients", records.free, "an attack without gradients"),
        records.no_better("gradients beat noise", lambda t: t.role == "noise", "random points of the same size"),
        records.no_better(
            "the attack beats transfer", lambda t: t.role == "transfer", "an attack on a network taught alike"
        ),
        records.doubled(),
        records.larger_radii(),
        records.no_limit(),
        records.worst_case(),
    ]
    return [line for line in lines if line is not None]


def bibliography(spec: Spec) -> str:
    """BibTeX of every attack of a run."""
    return cite(*(task.make()[0] for task in spec.tasks))


def _clean(right: NDArray[np.bool_], classes: int) -> Check:
    if not len(right):
        return Check("clean accuracy", False, "no answer to a clean input is recorded yet")
    share = float(right.mean())
    passed = share > 1.5 / classes
    return Check(
        "clean accuracy", passed, f"the clean accuracy is {share:.1%} with {classes} classes, chance being {1 / classes:.1%}"
    )


def _finite(tasks: Mapping[Task, Columns]) -> Check:
    """Answers that are no numbers."""
    columns = [c["outcome"] for t, c in tasks.items() if t.role not in ("naive", "transfer")]
    outcomes = np.concatenate(columns) if columns else np.array([], object)
    lost = int((outcomes == Outcome.NONFINITE.name).sum())
    finding = f"{lost} of {len(outcomes)} attacks on examples ended in NaN or infinite answers of the model"
    return Check("finite answers", not lost, finding)


class _Records:
    """The columns of one subject, and the questions put to them."""

    def __init__(self, spec: Spec, tasks: Mapping[Task, Columns]) -> None:
        self.spec, self.tasks = spec, tasks
        self.eps = as_threat(spec.threat).reach
        self.tolerated = max(1, round(0.005 * len(spec.examples)))  # half a point: what luck of the draw can do
        self.broken = self.fell(lambda t: t.role in DECIDING)
        played = [c for t, c in tasks.items() if t.role in DECIDING]
        self.wrong = set().union(*(set(c["example"][c["outcome"] == Outcome.ALREADY_WRONG.name].tolist()) for c in played))
        self.standing = set().union(*(set(c["example"].tolist()) for c in played)) - self.broken - self.wrong

    def free(self, task: Task) -> bool:
        """Whether a task attacks without gradients."""
        return task.role in DECIDING and task.role != "guided" and task.make()[0].access < Access.GRADIENTS

    def graded(self, task: Task) -> bool:
        """Whether a task attacks with the gradients of the model as it is asked."""
        return task.role == "main" and task.make()[0].access is Access.GRADIENTS

    def fell(self, which: Which) -> set[int]:
        """Examples broken in the main threat by one of the tasks."""
        found: set[int] = set()
        for task, columns in self.tasks.items():
            if which(task):
                found |= set(columns["example"][columns["outcome"] == Outcome.FOUND.name].tolist())
        return found

    def played(self, which: Which) -> set[int]:
        """Examples with a record of one of the tasks."""
        return set().union(*(set(c["example"].tolist()) for t, c in self.tasks.items() if which(t)))

    def line(self, name: str, passed: bool, finding: str) -> Check:
        """A doubt about the strength of the attacks, which is moot where nothing is left to be broken."""
        if not passed and len(self.standing) <= max(self.tolerated, MOOT * len(self.spec.examples)):
            return Check(name, True, f"{finding}; but no more than {len(self.standing)} examples stand")
        return Check(name, passed, finding)

    def gradients(self) -> Check:
        """Vanishing gradients stall an attack without a word."""
        blank = total = 0
        for task, columns in self.tasks.items():
            if self.graded(task) or task.role == "curve":
                standing = np.isin(columns["outcome"], ROBUST_NAMES)
                blank += int(columns["blank"][standing].sum())
                total += int(columns["gradients"][standing].sum())
        share = blank / total if total else 0.0
        return self.line("gradients", share <= 0.05, f"{share:.1%} of the gradients of unbroken examples were exactly zero")

    def repeatable(self, random: bool) -> Check:
        """A win has to be one when the model is asked again; over a random model a few are lucky draws."""
        escaped: set[int] = set()
        for task, columns in self.tasks.items():
            if task.role in DECIDING or (task.role == "curve" and not random):
                escaped |= set(columns["example"][columns["outcome"] == Outcome.ESCAPED.name].tolist())
        doubtful = escaped & self.standing if random else escaped
        allowed = max(self.tolerated, RANDOM_ESCAPES * len(self.spec.examples)) if random else 0
        what = "standing examples were" if random else "examples were"
        finding = f"{len(doubtful)} {what} won by some attack, but not again when the model was asked once more"
        return Check("repeatable wins", len(doubtful) <= allowed, finding)

    def iterative(self) -> Check:
        """One step must not beat many."""
        one = self.fell(lambda t: t.role == "main" and t.attack["name"] == "FGSM")
        many = self.fell(lambda t: self.graded(t) and t.attack["name"] != "FGSM")
        only = len(one - many)
        finding = f"{only} examples fell to one step and to no iterative attack"
        return self.line("iterative beats one step", only <= self.tolerated, finding)

    def no_better(self, name: str, which: Which, what: str) -> Check | None:
        """A blind attack must not break what the attacks with gradients leave."""
        if not any(self.graded(t) for t in self.tasks):
            return None
        tried = self.played(which)
        if not tried:
            return None
        only = len(self.fell(which) - self.fell(self.graded) - self.wrong)  # another network may be right where this is not
        finding = f"of {len(tried)} examples {only} fell to {what} and to none with the gradients of the model"
        return self.line(name, only <= self.tolerated, finding)

    def doubled(self) -> Check | None:
        """Twice the steps must not change the number."""
        tried = self.played(lambda t: t.role == "doubled")
        if not tried:
            return None
        more = len(self.fell(lambda t: t.role == "doubled") - self.broken)
        finding = f"twice the steps broke {more} more of {len(tried)} examples"
        return self.line("more steps change nothing", more <= max(1, round(0.01 * len(tried))), finding)

    def larger_radii(self) -> Check | None:
        """More radius must not break fewer examples."""
        larger = [(as_threat(t.threat).reach, t) for t in self.tasks if t.role == "curve"]
        larger = [(radius, t) for radius, t in larger if radius > self.eps and len(self.tasks[t]["example"])]
        if not larger:
            return None
        worst, finding = 0, "every larger radius leaves fewer examples"
        for radius, task in larger:
            examples = set(self.tasks[task]["example"].tolist())
            mains = [c for t, c in self.tasks.items() if t.role == "main" and examples <= set(c["example"].tolist())]
            least = min((_standing(c, examples) for c in mains), default=len(examples))
            standing = _standing(self.tasks[task], examples)
            if standing - least >= worst:
                worst = standing - least
                finding = f"{standing} of {len(examples)} examples stand at {radius:g}, "
                finding += f"{least} against the best attack at {self.eps:g}"
        return self.line("larger radii break more", worst <= self.tolerated, finding)

    def no_limit(self) -> Check | None:
        """With the whole range of inputs to itself, an attack that works breaks everything."""
        for task, columns in self.tasks.items():
            if task.role == "unbounded" and len(columns["example"]):
                examples = set(columns["example"].tolist())
                standing = _standing(columns, examples)
                radius = as_threat(task.threat).reach
                finding = f"{standing} of {len(examples)} examples stand at {radius:g}, where any input will do"
                return self.line("no radius, no robustness", standing <= max(1, round(0.02 * len(examples))), finding)
        return None

    def worst_case(self) -> Check:
        """Aggregated per example, never the best attack on average."""
        each = [len(self.fell(lambda t, task=task: t is task)) for task in self.tasks if task.role in DECIDING]  # type: ignore[misc]
        finding = f"{len(self.broken)} examples fell to some attack, {max(each, default=0)} to the strongest alone"
        return Check("worst case per example", True, finding)


def _standing(columns: Columns, examples: set[int]) -> int:
    """How many of the examples one attack left unbroken."""
    robust = np.isin(columns["outcome"], ROBUST_NAMES)
    return len(set(columns["example"][robust].tolist()) & examples)
