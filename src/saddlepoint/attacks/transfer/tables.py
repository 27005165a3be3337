"""Tables of what transfers: from model to model, from training set to training set, by attack and source, by confidence."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.attacks.minimum_norm.carlini_wagner import CarliniWagner
from saddlepoint.attacks.transfer.transfer import Transfer
from saddlepoint.core.answers import checked_answers, checked_logits
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Targeted, Untargeted, checked_labels
from saddlepoint.core.model import Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_attack, as_model, as_threat, attack, checked_inputs
from saddlepoint.core.result import Outcome, Share
from saddlepoint.core.threat import Threat
from saddlepoint.models.train import Trainer, seeded
from saddlepoint.ops.norms import expand_as


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: what it is about.
        kind: "clean", "crafted", "amplified", "noise" or "clipped" for a crafted or amplified row within the bounds.
        cells: a share a column; None where there is nothing to count.
        distortion: mean size of the change over the examples of the row; None where there is none.
    """

    name: str
    kind: str
    cells: tuple[Share | None, ...]
    distortion: float | None = None

    def data(self) -> dict[str, Any]:
        """Plain data."""
        cells = [None if c is None else {"count": c.count, "n": c.n} for c in self.cells]
        return {"name": self.name, "kind": self.kind, "cells": cells, "distortion": self.distortion}


@dataclass(frozen=True)
class Table:
    """Shares by row and column, and what they are of.

    Attributes:
        title: what the shares are of.
        columns: names.
        rows: in order.
        measure: what `distortion` measures.
        about: attack, threat, seed and whatever else made it, as plain data.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    measure: str
    about: dict[str, Any]

    def row(self, name: str, kind: str = "crafted") -> Row:
        """The row of a name and kind."""
        return next(row for row in self.rows if (row.name, row.kind) == (name, kind))

    def data(self) -> dict[str, Any]:
        """Plain data."""
        head = {"title": self.title, "columns": list(self.columns), "measure": self.measure}
        return head | {"rows": [row.data() for row in self.rows], "about": self.about}

    def texts(self) -> list[list[str]]:
        """Names, percentages, the number of examples and the distortion, as they are shown."""
        return [
            [
                row.name + (f" ({row.kind})" if row.kind in ("amplified", "clipped") else ""),
                *("-" if c is None or not c.n else f"{100 * c.value:.1f}" for c in row.cells),
                str(max((c.n for c in row.cells if c is not None), default=0)),
                "-" if row.distortion is None else f"{row.distortion:.3f}",
            ]
            for row in self.rows
        ]

    @property
    def head(self) -> list[str]:
        """What stands over `texts`."""
        return ["", *self.columns, "n", self.measure]

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self.texts()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def save(self, path: str | Path) -> None:
        """Write it: plain data as .json, a table as .md."""
        path = Path(path)
        if path.suffix not in (".json", ".md"):
            raise InputError(f"A table is written as .json or .md; got {path.name!r}. Name the file table.json, say.")
        text = json.dumps(self.data(), indent=1) if path.suffix == ".json" else f"{self.title}\n\n{self.markdown()}"
        try:
            path.write_text(text + "\n")
        except OSError as error:
            raise InputError(f"Could not write {path} ({error}). Choose another path.") from None


def cross_model(
    models: Mapping[str, Any],
    x: Any,
    y: Any,
    method: Attack | str = "LBFGS",
    threat: Threat | str = "l2",
    *,
    targets: bool = True,
    noise: Sequence[float] | None = None,
    amplify: Sequence[float] = (),
    seed: int = 0,
    batch: int = 256,
) -> Table:
    """What fools one model, put to every other (Szegedy et al., 2014, tables 1 and 2).

    Each row's examples are crafted on one model, and its cells are the errors of all models on them: answers other than the
    label. Examples where the attack failed, or that already had the answer wanted, are left out, so that a model's own cell
    is 100 %; `n` says how many remain. Noise rows are the control: Gaussian noise, not clipped, of the same size.

    Args:
        models: Models or torch modules by name, of the same bounds.
        x: (n, *shape) examples.
        y: (n,) labels.
        method: an Attack or its name.
        threat: what it may do.
        targets: pursue a random wrong class of each example, as in the paper; False for any wrong class.
        noise: standard deviations of the noise; None for the mean distortion of each crafted row.
        amplify: distortions to which the crafted changes are stretched besides, not clipped and clipped.
        seed: key of targets, noise and attacks.
        batch: rows at once.

    Distortion is the root mean square of the change over the features, as in the paper.
    """
    made, x, y = _several(models, x, y)
    method, threat = as_attack(method), as_threat(threat)
    ids = torch.arange(len(x))
    rows = [Row("clean", "clean", _errors(made, x, y, batch))]
    sizes = {}
    for name, source in made.items():
        goal = wrong_targets(source, x, y, seed, ids) if targets else Untargeted(y)
        result = attack(source, x, goal, threat, method, seed=seed, ids=ids, batch=batch, stop=Stop.NEVER)
        found = result.rows(Outcome.FOUND).cpu()
        delta = result.x_adv.cpu()[found] - x[found]
        rms = delta.flatten(1).square().mean(1).sqrt()
        sizes[name] = float(rms.mean()) if len(rms) else None
        rows.append(Row(name, "crafted", _errors(made, x[found] + delta, y[found], batch), sizes[name]))
        for to in amplify:
            stretched = x[found] + delta * expand_as(to / rms.clamp_min(1e-12), delta)
            rows.append(
                Row(f"{name} to {to:g}", "amplified", _errors(made, stretched, y[found], batch), to if len(rms) else None)
            )
            low, high = next(iter(made.values())).bounds
            clipped = stretched.clamp(low, high)
            size = (clipped - x[found]).flatten(1).square().mean(1).sqrt()
            shown = float(size.mean()) if len(size) else None
            rows.append(Row(f"{name} to {to:g}", "clipped", _errors(made, clipped, y[found], batch), shown))
    wanted = {f"noise {s:.3g} as {k}": s for k, s in sizes.items() if s is not None}
    wanted = wanted if noise is None else {f"noise {s:g}": s for s in noise}
    for name, sigma in wanted.items():
        drawn = Noise(seed, ids).fork(f"noise {sigma}").normal(*x.shape[1:], dtype=x.dtype)
        size = float((sigma * drawn).flatten(1).square().mean(1).sqrt().mean()) if len(x) else None
        rows.append(Row(name, "noise", _errors(made, x + sigma * drawn, y, batch), size))
    about = _about(method, threat, seed, len(x)) | {"targets": "random" if targets else None}
    return Table("error rate in %, crafted on the row's model", tuple(made), tuple(rows), "distortion (RMS)", about)


def cross_training_set(
    nets: Mapping[str, Callable[[], nn.Module]],
    train: Any,
    x: Any,
    y: Any,
    method: Attack | str = "LBFGS",
    threat: Threat | str = "l2",
    *,
    fit: Callable[[nn.Module, Any], Any] | None = None,
    noise: Sequence[float] | None = None,
    amplify: Sequence[float] = (0.1,),
    targets: bool = True,
    seed: int = 0,
    batch: int = 256,
) -> Table:
    """What fools a model, put to models of other hyperparameters and of another half of the data (the paper's table 3).

    Args:
        nets: makers of fresh networks, by name; all are trained on one half of the data, and the first, with a prime to its
            name, on the other half, too.
        train: a DataSet, cut in two disjoint halves with the seed.
        fit: trains a network on a data set and returns the model; None for a `Trainer`.

    The other arguments are those of `cross_model`.
    """
    if not nets:
        raise InputError("nets must name at least one network, as in {'mine': make}.")
    learn = fit or Trainer(seed=seed).fit
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    first, second = (train.subset(part.sort().values) for part in order.tensor_split(2))
    models = {name: learn(seeded(make, seed), first) for name, make in nets.items()}
    name, make = next(iter(nets.items()))
    models[f"{name}'"] = learn(seeded(make, seed + 1), second)
    table = cross_model(
        models, x, y, method, threat, targets=targets, noise=noise, amplify=amplify, seed=seed, batch=batch
    )  # fmt: skip
    return replace(table, about=table.about | {"halves": [len(first), len(second)]})


def attack_sources(
    target: Any,
    sources: Mapping[str, Any],
    x: Any,
    y: Any,
    methods: Mapping[str, Attack] | Sequence[Attack | str],
    threat: Threat | str,
    *,
    seed: int = 0,
    batch: int = 256,
) -> Table:
    """Accuracy of one model against attacks on itself and attacks crafted on others (Madry et al., 2018, tables 1 and 2).

    Args:
        target: the model A.
        sources: by name; where a source is the target itself, the attack is in the white box. Madry et al. take A, A'
            (trained alike from other parameters), A_nat (the same network trained on clean examples) and B (another one).
        x: (n, *shape) examples.
        y: (n,) labels.
        methods: attacks, by name or as they are; a row each. Restarts are joined example by example.
        threat: what they may do.
        seed: key of all noise.
        batch: rows at once.

    Other sources are attacked away from their own answers, by `Transfer`.
    """
    target, threat = as_model(target), as_threat(threat)
    made, x, y = _several(sources, x, y)
    named = methods if isinstance(methods, Mapping) else {_short(as_attack(m)): as_attack(m) for m in methods}
    if not named:
        raise InputError("methods must name at least one attack, as in ['PGD'].")
    right = _errors({"A": target}, x, y, batch)[0]
    assert right is not None
    rows = [Row("natural", "clean", tuple(Share(right.n - right.count, right.n) for _ in made))]
    for name, method in named.items():
        cells = []
        for source in made.values():
            played = method if source is target else Transfer(attack=method, source=source)
            cells.append(attack(target, x, y, threat, played, seed=seed, batch=batch).robust_accuracy)
        rows.append(Row(name, "crafted", tuple(cells)))
    about = {"attacks": {k: to_config(m) for k, m in named.items()}, "threat": threat.name, "seed": seed, "n": len(x)}
    return Table("accuracy in %, by attack and by the model it was crafted on", tuple(made), tuple(rows), "size", about)


def confidence_sweep(
    source: Any,
    target: Any,
    x: Any,
    y: Any,
    confidences: Sequence[float] = (0, 5, 10, 15, 20, 25, 30, 35, 40),
    method: Attack | None = None,
    *,
    seed: int = 0,
    batch: int = 256,
) -> Table:
    """How much of what fools a source by a margin fools a target too (Carlini and Wagner, 2017, section VIII.D).

    Args:
        source: the model that is attacked, without a defense; its logits are the units of the confidence.
        target: the model that is shown the results.
        x: (n, *shape) examples.
        y: (n,) labels.
        confidences: margins, a row each.
        method: an attack with a `confidence`; None for CarliniWagner.
        seed: key of the random wrong targets and of the attack.
        batch: rows at once.

    Columns: the share that reaches its target class on the source; of these, how many the target gets wrong, and how many it
    answers with the same target class. Distortion is their mean L2 norm.
    """
    method = CarliniWagner() if method is None else as_attack(method)
    if not hasattr(method, "confidence"):
        raise InputError(f"{type(method).__name__} has no confidence to raise. Use CarliniWagner.")
    made, x, y = _several({"source": source, "target": target}, x, y)
    ids = torch.arange(len(x))
    goal = wrong_targets(made["source"], x, y, seed, ids)
    rows = []
    for value in confidences:
        some: Any = replace(method, confidence=value)  # type: ignore[type-var]  # attacks are records
        result = attack(made["source"], x, goal, "l2", some, seed=seed, ids=ids, batch=batch)
        found = result.rows(Outcome.FOUND).cpu()
        answers = _answers(made["target"], result.x_adv.cpu()[found], batch)
        n = int(found.sum())
        cells = (
            Share(n, int((~result.rows(Outcome.ALREADY_WRONG)).sum())),
            Share(int((answers != y[found]).sum()), n),
            Share(int((answers == goal.y[found]).sum()), n),
        )
        rows.append(Row(f"confidence {value:g}", "crafted", cells, float(result.size.cpu()[found].mean()) if n else None))
    columns = ("reached on the source", "wrong on the target", "reached on the target")
    about = _about(method, as_threat("l2"), seed, len(x)) | {"confidences": list(confidences)}
    return Table("transfer by confidence, in %", columns, tuple(rows), "mean L2", about)


def wrong_targets(model: Model, x: Tensor, y: Tensor, seed: int, ids: Tensor) -> Targeted:
    """A random wrong class for every example, the same whatever the model."""
    with model.session(), torch.no_grad():
        classes = checked_logits(model.logits, _there(x[:1], model)).shape[1]
    drawn = Noise(seed, ids).fork("targets").integers(classes - 1, 1)[:, 0]
    return Targeted(drawn + (drawn >= y))


def _several(models: Mapping[str, Any], x: Any, y: Any) -> tuple[dict[str, Model], Tensor, Tensor]:
    """Models, inputs and labels on the CPU, or one InputError."""
    if not isinstance(models, Mapping) or not models:
        raise InputError(f"The models must be a mapping of at least one, as in {{'mine': model}}; got {models!r:.60}.")
    made = {str(name): as_model(model) for name, model in models.items()}
    bounds = {model.bounds for model in made.values()}
    if len(bounds) > 1:
        raise InputError(f"The models must have the same bounds; got {sorted(bounds)}. Scale inside of them.")
    x = checked_inputs(x, next(iter(made.values()))).cpu()
    return made, x, checked_labels(torch.as_tensor(y), len(x), "cpu")


def _there(x: Tensor, model: Model) -> Tensor:
    return x if model.device is None else x.to(model.device)


def _answers(model: Model, x: Tensor, batch: int) -> Tensor:
    with model.session():
        parts = [checked_answers(model, _there(part, model)).cpu() for part in x.split(batch)] if len(x) else []
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _errors(models: Mapping[str, Model], x: Tensor, y: Tensor, batch: int) -> tuple[Share, ...]:
    return tuple(Share(int((_answers(model, x, batch) != y).sum()), len(y)) for model in models.values())


def _about(method: Attack, threat: Threat, seed: int, n: int) -> dict[str, Any]:
    return {"attack": to_config(method), "threat": threat.name, "seed": seed, "n": n}


def _short(method: Attack) -> str:
    """The name of an attack, with the settings that are not its defaults."""
    default = to_config(type(method)())
    changed = [f"{k}={v['name'] if isinstance(v, dict) else v}" for k, v in to_config(method).items() if v != default[k]]
    return type(method).__name__ + (f"({', '.join(changed)})" if changed else "")
