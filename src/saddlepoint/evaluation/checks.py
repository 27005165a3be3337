"""Evidence against a number, computed from records alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saddlepoint.core.model import Access
from saddlepoint.core.paper import cite
from saddlepoint.core.play import as_threat
from saddlepoint.core.result import ROBUST, Outcome
from saddlepoint.evaluation.spec import Spec, Task

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Check:
    """One line of evidence.

    Attributes:
        name: short.
        passed: whether the number survives it.
        finding: what was seen, with its count.
    """

    name: str
    passed: bool
    finding: str

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def checks(spec: Spec, tasks: Mapping[Task, Columns], right: NDArray[np.bool_], classes: Sequence[str]) -> list[Check]:
    """All checks of one subject.

    Args:
        spec: of the run.
        tasks: the columns of its main and curve tasks.
        right: whether the clean answers are right.
        classes: names of the classes.
    """
    outcomes = np.concatenate([c["outcome"] for c in tasks.values()]) if tasks else np.array([], object)
    return [
        _clean(right, max(2, len(classes))),
        _none("finite answers", outcomes, Outcome.NONFINITE, "ended in NaN or infinite answers of the model"),
        _none("repeatable wins", outcomes, Outcome.ESCAPED, "were won but not again when the model was asked once more"),
        _gradients(tasks),
        _iterative(spec, tasks),
        _gradient_free(spec, tasks),
        _large_radius(spec, tasks),
    ]


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


def _none(name: str, outcomes: NDArray[Any], wrong: Outcome, what: str) -> Check:
    count = int((outcomes == wrong.name).sum())
    return Check(name, count == 0, f"{count} of {len(outcomes)} attacks on examples {what}")


def _gradients(tasks: Mapping[Task, Columns]) -> Check:
    """Vanishing gradients stall an attack without a word (Carlini and Wagner, 2017; Athalye et al., 2018)."""
    blank = total = 0
    for task, columns in tasks.items():
        if task.make()[0].access is Access.GRADIENTS:
            standing = np.isin(columns["outcome"], [o.name for o in ROBUST])
            blank += int(columns["blank"][standing].sum())
            total += int(columns["gradients"][standing].sum())
    share = blank / total if total else 0.0
    return Check("gradients", share <= 0.05, f"{share:.1%} of the gradients of unbroken examples were exactly zero")


def _iterative(spec: Spec, tasks: Mapping[Task, Columns]) -> Check:
    """One step must not beat many."""
    one = _broken(spec, tasks, lambda t: t.attack["name"] == "FGSM")
    many = _broken(spec, tasks, lambda t: t.attack["name"] != "FGSM" and t.make()[0].access is Access.GRADIENTS)
    only = len(one - many)
    return Check(
        "iterative beats one step", only <= _tolerated(spec), f"{only} examples fell to one step and to no iterative attack"
    )


def _gradient_free(spec: Spec, tasks: Mapping[Task, Columns]) -> Check:
    """An attack without gradients must not beat those with them."""
    without = _broken(spec, tasks, lambda t: t.make()[0].access < Access.GRADIENTS)
    with_them = _broken(spec, tasks, lambda t: t.make()[0].access is Access.GRADIENTS)
    only = len(without - with_them)
    if not any(t.make()[0].access is Access.GRADIENTS for t in tasks):
        return Check("gradients beat no gradients", True, "the model gives no gradients to compare with")
    return Check(
        "gradients beat no gradients",
        only <= _tolerated(spec),
        f"{only} examples fell to an attack without gradients and to none with them",
    )


def _large_radius(spec: Spec, tasks: Mapping[Task, Columns]) -> Check:
    """More radius must not break fewer examples."""
    eps = as_threat(spec.threat).reach
    larger = [(as_threat(t.threat).reach, t) for t in tasks if t.role == "curve" and as_threat(t.threat).reach > eps]
    if not larger:
        return Check("larger radii break more", True, "no larger radius was tried")
    radius, widest = max(larger, key=lambda pair: pair[0])
    examples = set(tasks[widest]["example"].tolist())
    if not examples:
        return Check("larger radii break more", True, "no larger radius has been tried yet")
    mains = [t for t, c in tasks.items() if t.role == "main" and examples <= set(c["example"].tolist())]
    least = min((_standing(tasks[t], examples) for t in mains), default=len(examples))
    standing = _standing(tasks[widest], examples)
    finding = f"{standing} of {len(examples)} examples stand at {radius:g}, {least} against the best attack at {eps:g}"
    return Check("larger radii break more", standing <= least + _tolerated(spec), finding)


def _standing(columns: Columns, examples: set[int]) -> int:
    """How many of the examples one attack left unbroken."""
    robust = np.isin(columns["outcome"], [o.name for o in ROBUST])
    return len(set(columns["example"][robust].tolist()) & examples)


def _broken(spec: Spec, tasks: Mapping[Task, Columns], which: Any) -> set[int]:
    """Examples broken in the main threat by one of the tasks."""
    found: set[int] = set()
    for task, columns in tasks.items():
        if task.role == "main" and which(task):
            found |= set(columns["example"][columns["outcome"] == Outcome.FOUND.name].tolist())
    return found


def _tolerated(spec: Spec) -> int:
    """Half a point of the examples, at least one: what luck of the draw can do."""
    return max(1, round(0.005 * len(spec.examples)))
