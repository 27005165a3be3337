"""What `trace`, `rubbish` and `reach` do, behind their arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saddlepoint import data as data_sets
from saddlepoint.cli import show
from saddlepoint.cli.work import make_attack
from saddlepoint.core.config import to_config
from saddlepoint.core.game import Stop
from saddlepoint.core.model import Model
from saddlepoint.data.dataset import DataSet
from saddlepoint.models.train import as_device
from saddlepoint.subjects import resolve_or_train
from saddlepoint.theory import rubbish as noisy
from saddlepoint.theory.reach import reachable
from saddlepoint.theory.trace import trace as along


def subject(
    model: str, data: str, *, weights: Path | None, seed: int, device: str, mean: Sequence[float] | None,
    std: Sequence[float] | None, bounds: tuple[float, float],
) -> tuple[Model, DataSet]:  # fmt: skip
    """A model and the data set it is for."""
    examples = data_sets.load(data)
    made = resolve_or_train(
        model, data, examples, seed=seed, weights=weights, bounds=bounds, mean=mean, std=std, device=as_device(device)
    )
    return made, examples


def trace(
    model: Model, examples: DataSet, index: int, threat: str, eps: float, points: int, out: Path | None
) -> dict[str, Any]:
    """The trace of one example, drawn if there is a place for it."""
    x, y = examples.batch([index])
    found = along(model, x, y, eps, points=points, threat=threat)
    if out is not None:
        found.plot(out, classes=examples.classes if len(examples.classes) == found.logits.shape[2] else None)
    return {"index": index, "label": int(y), "picture": str(out) if out else None} | found.data()


def traced(found: dict[str, Any]) -> None:
    """A trace in words."""
    (left, right), (line_left, line_right), growth = (found[k][0] for k in ("interval", "linearity", "growth"))
    before, after = (g and f"{g:.3g}" for g in growth)
    rows = [
        ["answered right", f"from {words(left, 'the left end')} to {words(right, 'the right end')}"],
        ["R^2 of straight logits", f"{words(line_left)} left, {words(line_right)} right of 0"],
        ["commonest answer beyond", words(found["stability"][0], "none: never wrong") + " of the places"],
        ["spread of the logits grows", f"{before} times to the left, {after} times to the right"],
        *([["picture", found["picture"]]] if found["picture"] else []),
    ]
    show.table(f"Example {found['index']} of class {found['label']} along {found['threat']}", ["", ""], rows)


def words(value: float | None, otherwise: str = "-") -> str:
    """A number, or what its absence means."""
    return otherwise if value is None else f"{value:.4g}"


def rubbish(
    model: Model, examples: DataSet, samples: int, attack: str, threat: str, each: int, seed: int, out: Path | None
) -> dict[str, Any]:
    """Noise of every kind and, where `each` is not 0, noise turned into every class, drawn if there is a place for it."""
    found = noisy.rubbish(model, examples.shape, samples=samples, seed=seed)
    fooled = noisy.fooling(model, examples.shape, threat, attack, samples=each, seed=seed) if each else None
    if out is not None:
        noisy.gallery(out, found, fooled)
    return {
        "noise": [kind.data() for kind in found],
        "fooling": fooled.data() if fooled else None,
        "picture": str(out) if out else None,
    }


def strewn(found: dict[str, Any]) -> None:
    """Rates of errors on noise as tables."""
    rows = [
        [kind["kind"], by, show.percent(kind[by]), words(kind[by]["confidence"])]
        for kind in found["noise"]
        for by in ("softmax", "sigmoid")
    ]
    show.table("Noise that is given a class", ["noise", "probabilities", "errors", "mean confidence"], rows)
    if found["fooling"]:
        rows = [[str(c["class"]), show.percent(c), words(c["confidence"])] for c in found["fooling"]["classes"]]
        rows.append(["all", show.percent(found["fooling"]["rate"]), ""])
        title = f"Noise changed by {found['fooling']['attack']['name']}, {found['fooling']['threat']}"
        show.table(title, ["wanted class", "fooled", "mean confidence"], rows)


def reach(
    model: Model, examples: DataSet, attack: str, settings: dict[str, Any], threat: str, limit: int | None, sure: bool,
    seed: int, out: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """What targeted attacks toward every wrong class reach, drawn if there is a place for it."""
    method = make_attack(attack, settings)
    x, y = examples.batch(data_sets.picked(examples, limit, seed))
    found = reachable(model, x, y, threat, method, seed=seed, stop=Stop.NEVER if sure else None)
    if out is not None:
        known = len(examples.classes) == found.probability.shape[1]
        found.plot(out, classes=examples.classes if known else None)
    names = [str(name) for name in examples.classes]
    made = {"attack": to_config(method), "threat": threat, "classes": names, "picture": str(out) if out else None}
    return made | found.data()


def reached(found: dict[str, Any]) -> None:
    """The map of classes, and its rates."""
    names = found["classes"] if len(found["classes"]) == len(found["map"]) else [str(i) for i in range(len(found["map"]))]
    rows = [
        [name, str(n), *("-" if i == j else str(count) for j, count in enumerate(row))]
        for i, (name, n, row) in enumerate(zip(names, found["examples"], found["map"], strict=True))
    ]
    show.table(f"Turned by {found['attack']['name']}, {found['threat']}, into ...", ["from", "n", *names], rows)
    rows = [
        ["toward a wrong class", show.percent(found["success"])],
        ["into any wrong class", show.percent(found["fooled"])],
        ["mean confidence", words(found["confidence"])],
        ["examples by number of classes", ", ".join(f"{k}: {n}" for k, n in enumerate(found["histogram"]) if n) or "-"],
        *([["picture", found["picture"]]] if found["picture"] else []),
    ]
    show.table("Reached", ["", ""], rows)
