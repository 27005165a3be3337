"""What the tables of the page say, as plain data for its template."""

import json
import math
import re
from typing import Any

import numpy as np
from markupsafe import Markup

from saddlepoint import attacks
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.result import Outcome, Share
from saddlepoint.evaluation.presets import CLASSES_IN_MATRIX, PRESETS, main_attacks
from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.spec import CHECKING, DECIDING, Subject, Task
from saddlepoint.report import words
from saddlepoint.report.figures import loss_svg, norms_svg

EXAMPLES_IN_SPEC = 20_000
MARKERS = "●■▲◆▼✚"
COLORS = 6
NARROW = 3  # longer class names stand upright above their column
LEVELS = 10  # of heat, each a class of the style sheet


def overview(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """What is said once about the whole run."""
    spec = run.spec
    kind, eps = words.split(spec.threat)
    deciding = [(s, t) for s in spec.subjects for t in run.tasks("main", "curve")]
    return {
        "data": spec.data,
        "n": run.n,
        "threat": words.threat(spec.threat),
        "text": spec.threat,
        "meaning": words.meaning(spec.threat),
        "eps": words.radius(eps),
        "symbol": words.SYMBOLS.get(kind, kind),
        "preset": spec.preset,
        "attacks": len(run.tasks("main")),
        "complete": result["complete"],
        "done": sum(recorded(run, s, t) == wanted(run, t) for s, t in deciding),
        "tasks": len(deciding),
        "version": result["saddlepoint"],
        "digest": result["digest"],
    }


def wanted(run: Run, task: Task) -> int:
    """How many examples a task is about."""
    return len(run.spec.examples[: task.examples])


def recorded(run: Run, subject: Subject, task: Task) -> int:
    """How many examples a task has records of."""
    return len(run.columns(subject.name, task.name)["example"])


def subject(run: Run, who: Subject, made: dict[str, Any]) -> dict[str, Any]:
    """Headline, attacks and evidence of a subject."""
    number = run.spec.subjects.index(who)
    rows = [attack(run, who, task, row) for task, row in zip(run.spec.tasks, made["attacks"], strict=True)]
    robust, state, started = made["robust"], made["verdict"]["state"], made["clean"]["n"] > 0
    said = started or run.hopeless(who)
    valid = state != "not trusted" and started
    return {
        "name": who.name,
        "source": who.source,
        "color": number % COLORS,
        "marker": MARKERS[(number + number // COLORS) % len(MARKERS)],
        "clean": made["clean"],
        "low": robust["low"] if robust else None,
        "high": robust["high"] if robust else None,
        "undecided": robust["undecided"] if robust else 0,
        "started": started,
        "said": said,
        "valid": valid,
        "repaired": valid and state == "repaired",
        "before": made["before"],
        "state": "invalid" if not valid else "undecided" if robust["undecided"] else state,
        "label": "Robust accuracy" if valid else "No robust accuracy",
        "sentence": made["verdict"]["sentence"] if said else "Nothing is recorded yet, so nothing can be said.",
        "stages": stages(made["checks"]),
        "trust": trust(made["trust"]),
        "evidence": evidence(made["trust"]),
        "main": [r for r in rows if r["role"] in DECIDING and (r["recorded"] or r["role"] == "main")],
        "curve": [r for r in rows if r["role"] == "curve"],
        "checking": [r for r in rows if r["role"] in CHECKING],
        "worst": worst(run, who, made),
    }


STAGES = {
    "before": "Before the attacks: the model is asked",
    "during": "In an attack: every step is watched",
    "after": "After the attacks: their records are compared",
}


def stages(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks by when they were made, each with how it ended."""

    def state(check: dict[str, Any]) -> str:
        return "pass" if check["passed"] else "repaired" if check["remedy"] else "fail"

    return [
        {"title": title, "checks": [{**c, "state": state(c)} for c in checks if c["stage"] == stage]}
        for stage, title in STAGES.items()
        if any(c["stage"] == stage for c in checks)
    ]


def trust(made: dict[str, Any] | None) -> dict[str, Any] | None:
    """How the model was asked, what else was tried, and what it cost to know."""
    if made is None:
        return None
    trials = [{"words": "; ".join(t["words"]) or "as it was given", "left": t["left"], "n": t["n"]} for t in made["trials"]]
    return {"words": made["words"], "trials": trials, "passes": made["passes"]}


def evidence(made: dict[str, Any] | None) -> dict[str, Any] | None:
    """Pictures of the attack that was watched."""
    if made is None or not made["evidence"]:
        return None
    seen = made["evidence"]
    return {
        "n": seen["n"],
        "steps": len(seen["margins"]) - 1,
        "loss": Markup(loss_svg(seen["margins"])),
        "norms": Markup(norms_svg(seen["norms"])),
    }


def attack(run: Run, who: Subject, task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """The line of a task."""
    usual = (Outcome.FOUND.name, Outcome.NOT_FOUND.name)
    alarming = (Outcome.ESCAPED.name, Outcome.NONFINITE.name)
    n = row["success"]["n"]
    return {
        **row,
        "label": words.label(task.name, task.role),
        "formula": words.threat(task.threat),
        "recorded": recorded(run, who, task),
        "wanted": wanted(run, task),
        "median": None if not n else math.inf if row["median_size"] is None else row["median_size"],
        "others": [
            {"name": o, "count": count, "alarm": o in alarming}
            for o, count in row["outcomes"].items()
            if count and o not in usual
        ],
    }


def worst(run: Run, who: Subject, made: dict[str, Any]) -> dict[str, Any]:
    """The line of all attacks together: for every example the one that hurts most."""
    right, _ = run.clean(who)
    sizes = run.distance(who)[right]
    main = [row for row in made["attacks"] if row["role"] in DECIDING]
    left, standing = int(right.sum()), run.robust(who).high.count
    unknown = run.n - made["clean"]["n"]  # examples without any record count as standing
    return {
        "success": Share(left - (standing - unknown), left).data(),
        "median": None if not len(sizes) else finite_or_infinite(float(np.quantile(sizes, 0.5, method="lower"))),
        **{what: sum(row[what] for row in main) for what in ("forwards", "backwards", "seconds")},
    }


def finite_or_infinite(value: float) -> float:
    """A median of nothing found is infinite."""
    return value if math.isfinite(value) else math.inf


def curve_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The security curve in numbers: a row a radius, a share a subject."""
    subjects = result["subjects"]
    return [
        {"eps": words.radius(point["eps"]), "shares": [s["curve"][i] if s["clean"]["n"] else None for s in subjects]}
        for i, point in enumerate(subjects[0]["curve"])
    ]


def matrices(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """Source-target matrices of every subject, or why there are none."""
    tasks, k = run.tasks("pairs"), len(run.classes)
    if not tasks:
        why = (
            f"There are {k} classes, and the matrices are made for at most {CLASSES_IN_MATRIX}."
            if k > CLASSES_IN_MATRIX
            else "This run has no targeted attacks: they need a model that gives gradients."
        )
        return {"why": why}
    if not any(s["pairs"]["n"] for s in result["subjects"]):
        return {"why": "The targeted attacks have not been run yet."}
    lengths = [v for s in result["subjects"] for row in s["pairs"]["l2"] for v in row if v is not None]
    low, high = (min(lengths), max(lengths)) if lengths else (0.0, 0.0)
    names = [class_name(run, i) for i in range(len(tasks))]
    return {
        "why": "",
        "attack": tasks[0].name.partition(" @ ")[0],
        "tall": max(map(len, names)) > NARROW,
        "low": low,
        "high": high,
        "names": names,
        "subjects": [
            {
                "name": s["name"],
                "n": s["pairs"]["n"],
                "tables": [
                    {"what": "Success", "unit": "%", "rows": heat(s["pairs"]["success"], names, 0.0, 1.0, 100, "{:.0f}")},
                    {"what": "Distortion", "unit": "L2", "rows": heat(s["pairs"]["l2"], names, low, high, 1, "{:.2f}")},
                ],
            }
            for s in result["subjects"]
        ],
    }


def heat(
    matrix: list[list[float | None]], names: list[str], low: float, high: float, scale: float, form: str
) -> list[dict[str, Any]]:
    """Rows of cells: what to write, and how warm."""

    def cell(value: float | None, i: int, j: int) -> dict[str, str]:
        if value is None:
            return {"text": "" if i == j else "—", "heat": "self" if i == j else "none"}
        level = round(LEVELS * (value - low) / (high - low)) if high > low else LEVELS // 2
        return {"text": form.format(value * scale), "heat": f"h{level}"}

    return [{"name": names[i], "cells": [cell(value, i, j) for j, value in enumerate(row)]} for i, row in enumerate(matrix)]


def class_name(run: Run, number: int) -> str:
    """A model may answer with classes that the data does not name."""
    return run.classes[number] if 0 <= number < len(run.classes) else str(number)


def costs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What every subject cost, and all together."""
    rows = [
        {"name": s["name"], **{what: sum(a[what] for a in s["attacks"]) for what in ("forwards", "backwards", "seconds")}}
        for s in result["subjects"]
    ]
    return [*rows, {"name": "", **{what: sum(r[what] for r in rows) for what in ("forwards", "backwards", "seconds")}}]


def provenance(run: Run) -> dict[str, Any]:
    """What it takes to do it again."""
    spec, git = run.spec, run.environment.get("git", "")
    trained = {s.name: json.dumps(s.training, indent=1, sort_keys=True) for s in spec.subjects if s.training}
    return {
        "command": run.command or sentence(run),
        "language": "command line" if run.command else "Python",
        "digest": spec.digest,
        "data": spec.data,
        "data_digest": spec.data_digest,
        "weights": [{"name": s.name, "source": s.source, "digest": s.weights} for s in spec.subjects],
        "trained": trained,
        "versions": dict(sorted(spec.versions.items())),
        "environment": {k: v for k, v in sorted(run.environment.items()) if k != "git"},
        "git": git or "not in a git checkout",
        "settings": {"seed": spec.seed, "batch": spec.batch, "queries": spec.queries or "no limit", "device": spec.device}
        | ({"searched on a faster copy by": ", ".join(spec.faster)} if spec.faster else {}),
    }


def sentence(run: Run) -> str:
    """The Python that makes this run, as far as text can stand for a model."""
    spec = run.spec
    parts = [] if all(s.training for s in spec.subjects) else [_models(spec.subjects), f"data={spec.data!r}"]
    parts.append(f"threat={spec.threat!r}")
    if spec.preset in PRESETS:
        parts.append(f"preset={spec.preset!r}")
    parts += [f"limit={run.n}", f"seed={spec.seed}", f"batch={spec.batch}", f"device={spec.device!r}"]
    if spec.queries is not None:
        parts.append(f"queries={spec.queries}")
    if not _usual(run):
        made = ", ".join(repr(task.make()[0]) for task in run.tasks("main"))
        parts.append("attacks=[" + re.sub(r"\b[A-Z]\w*(?=\()", _qualified, made) + "]")
    return f"saddlepoint.audit({', '.join(parts)})"


def _qualified(name: re.Match[str]) -> str:
    """An attack's name as it is after `import saddlepoint`; one from elsewhere stays as it is."""
    return f"saddlepoint.attacks.{name.group()}" if hasattr(attacks, name.group()) else name.group()


def _models(subjects: tuple[Subject, ...]) -> str:
    """Sources that are text stand for themselves; an object has no other name than the subject's."""

    def model(s: Subject) -> str:
        return "..." if " " in s.source else repr(s.source)

    if len(subjects) == 1:
        return f"model={model(subjects[0])}"
    return "model={" + ", ".join(f"{s.name!r}: {model(s)}" for s in subjects) + "}"


def _usual(run: Run) -> bool:
    """Whether the attacks are all that the preset has for such a model."""
    if run.spec.preset not in PRESETS:
        return False
    kind, _ = words.split(run.spec.threat)
    access = max(task.make()[0].access for task in run.spec.tasks)
    try:
        own = main_attacks(kind, PRESETS.index(run.spec.preset), max(2, len(run.classes)))
    except InputError:
        return False
    return [task.attack for task in run.tasks("main")] == [to_config(m) for m in own if m.access <= access]


def spec_text(run: Run) -> str:
    """The resolved specification as JSON, the numbers of the examples on one line."""
    data = json.loads(run.spec.to_json())
    examples = data["examples"]
    line = json.dumps(examples[:EXAMPLES_IN_SPEC], separators=(", ", ": "))
    if len(examples) > EXAMPLES_IN_SPEC:
        line = f'"the first {EXAMPLES_IN_SPEC:,} of {len(examples):,}: {line}"'
    text = json.dumps({**data, "examples": None}, indent=2, sort_keys=True)
    return text.replace('\n  "examples": null', f'\n  "examples": {line}', 1)
