"""The audit: from a model and data to records, a verdict and a report, in one call."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_answers, checked_logits
from saddlepoint.core.attack import Attack
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Access, Model
from saddlepoint.core.play import as_attack, as_threat, check_settings, checked_inputs
from saddlepoint.core.threat import Threat
from saddlepoint.data import DataSet, picked
from saddlepoint.evaluation.engine import Chunk, Contender, chunks, execute
from saddlepoint.evaluation.presets import preset_tasks
from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.spec import RESCUE, Spec, environment
from saddlepoint.evaluation.store import Store
from saddlepoint.evaluation.trust.before import Examination, examine
from saddlepoint.evaluation.trust.during import WATCHED, watch
from saddlepoint.evaluation.trust.prognosis import Prognosis, prognosis
from saddlepoint.evaluation.trust.surrogate import LESSONS, surrogate
from saddlepoint.models.accelerated import Accelerated
from saddlepoint.models.cache import root as root
from saddlepoint.models.http import HTTPModel
from saddlepoint.models.train import as_device
from saddlepoint.report import write_report
from saddlepoint.subjects import DEMO_DATA, as_data, demonstration, name_of, resolve_or_train, subject

DEMO_THREAT = "linf:0.2"


@dataclass(frozen=True)
class Plan:
    """An audit before it runs.

    Attributes:
        spec: what will be done.
        models: by subject name.
        data: where the examples are.
        folder: where the records will be.
        prognoses: what is known of every subject before it is attacked, and how it will be asked.
        command: the command line that does the same, or "".
    """

    spec: Spec
    models: Mapping[str, Model]
    data: DataSet
    folder: Path
    prognoses: Mapping[str, Prognosis]
    command: str = ""

    @property
    def rows(self) -> int:
        """Examples times tasks times subjects: the length of a progress bar."""
        return sum(len(c.ids) for c in chunks(self.spec, subjects=self.hopeful))

    @property
    def hopeful(self) -> list[str]:
        """Subjects that have answers to be attacked."""
        return [name for name, prognosis in self.prognoses.items() if not prognosis.hopeless]

    def predict(self) -> float:
        """Seconds, at most: the passes that the attacks may make, at the measured speed of a pass."""
        x, _ = self.data.batch(self.spec.examples[:64])
        total = 0.0
        for name in self.hopeful:
            forward, backward, classes = _speed(self.models[name], x)
            draws = self.prognoses[name].recipe.draws
            for task in self.spec.tasks:
                f, b = task.make()[0].passes(x[0].numel(), classes)
                limit = self.spec.queries or f
                passes = draws * (min(f, limit) * forward + min(b, limit) * backward)
                total += len(self.spec.examples[: task.examples]) * passes * (task.role not in RESCUE)
        return total

    def run(
        self, *, seconds: float | None = None, on_chunk: Callable[[Chunk, bool], None] | None = None, report: bool = True
    ) -> Run:
        """Do what is not done yet, then write result.json, records.csv and report.html.

        Where the checks of the attacks fail, more is tried before anything is said.

        Raises RunError when the folder cannot be used, KeyboardInterrupt when interrupted: what is done stays done.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        self._remember()
        contenders = self._contenders()
        play = partial(execute, self.spec, contenders, self.data, self.folder, deadline=deadline, on_chunk=on_chunk)
        if play(subjects=self.hopeful):
            self._watch(contenders)
            if doubtful := Run(self.folder).doubtful:
                play(roles=RESCUE, subjects=doubtful)
        run = Run(self.folder)
        run.write()
        if report:
            write_report(run)
        return run

    def _remember(self) -> None:
        """Write down what the records alone do not say."""
        with Store(self.folder, self.spec.to_json()) as store:
            for key, value in {
                "classes": json.dumps(self.data.classes),
                "environment": json.dumps(environment()),
                "command": self.command,
                "prognoses": json.dumps({name: p.data() for name, p in self.prognoses.items()}, allow_nan=False),
            }.items():
                if not store.meta(key):
                    store.set_meta(key, value)

    def _contenders(self) -> dict[str, Contender]:
        """Every model as it was given, and as it is asked."""
        threat, seed = as_threat(self.spec.threat), self.spec.seed

        def contender(name: str) -> Contender:
            def examples(model: Model) -> Tensor:
                return checked_inputs(self.data.batch(self.spec.examples[:LESSONS])[0], model)

            def asked(model: Model) -> Model:
                repaired = recipe.apply(model, examples(model), threat, seed)
                return Accelerated(model, *self.spec.faster) if self.spec.faster and repaired is model else repaired

            recipe = self.prognoses[name].recipe
            return Contender(
                self.models[name],
                repair=asked,
                teach=lambda model: surrogate(model, examples(model), threat, seed),
            )

        return {name: contender(name) for name in self.hopeful}

    def _watch(self, contenders: Mapping[str, Contender]) -> None:
        """Look at one attack step by step."""
        for name in self.hopeful:
            with Store(self.folder, write=False) as store:
                if store.meta(f"evidence {name}"):
                    continue
            x, y = self.data.batch(self.spec.examples[:WATCHED])
            model = contenders[name].attacked
            seen = watch(
                model, checked_inputs(x, model), y, as_threat(self.spec.threat), seed=self.spec.seed,
                ids=torch.tensor(self.spec.examples[:WATCHED]),
            )  # fmt: skip
            with Store(self.folder, self.spec.to_json()) as store:
                store.set_meta(f"evidence {name}", json.dumps(None if seen is None else seen.data(), allow_nan=False))


def audit(
    model: Any = None,
    data: Any = None,
    threat: Threat | str = DEMO_THREAT,
    *,
    preset: str = "quick",
    limit: int | None = 500,
    seed: int = 0,
    attacks: Sequence[Attack | str] = (),
    claimed: float | None = None,
    batch: int | str = "auto",
    device: str = "auto",
    queries: int | None = None,
    faster: Sequence[str] = (),
    seconds: float | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    on_chunk: Callable[[Chunk, bool], None] | None = None,
) -> Run:
    """How robust a model is, and what the number rests on.

    Without a model it trains and audits a plain and an adversarially trained network for digits. Calling it again with the
    same arguments goes on where it stopped, and does nothing when all is done.

    Args:
        model: a Model, a torch module of inputs in [0, 1], text such as "package.module:factory", the name of a broken
            defense of the gallery, or a mapping from names to those; None for the demonstration.
        data: a DataSet, a name, the path of a folder or .npz file, or a pair (x, y).
        threat: a ball with a radius, or text such as "linf:8/255".
        preset: "quick", "standard" or "thorough".
        limit: how many examples, drawn with `seed`; None for all.
        seed: of the draw of examples and of all noise.
        attacks: attacks or names, instead of the preset's.
        claimed: the clean accuracy that is claimed for the model; what the examples show must be compatible with it.
        batch: rows at once, or "auto".
        device: "auto", "cpu", "cuda", ...
        queries: forward passes an attack may spend on an example.
        faster: means of `Accelerated`, as in ["bf16", "channels-last"]: the attacks search on a faster copy of the network,
            and everything they find is asked of the network itself. A network that needs a repair is attacked as it is.
        seconds: stop after so much time; examples left undecided are counted as such.
        out: the run's folder; by default one below `runs` named after the data and the specification.
        fresh: remove what the folder holds first.
        on_chunk: called with every finished chunk.

    Returns:
        The run: `run.result()` is everything as plain data, `run.folder` holds report.html, result.json, records.csv.

    Raises:
        InputError: an argument is not what it should be.
        RunError: the folder cannot be used.
    """
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
        raise InputError(f"seconds must be a number of at least 0; got {seconds!r}. Write 600 for ten minutes.")
    made = plan(
        model, data, threat, preset=preset, limit=limit, seed=seed, attacks=attacks, claimed=claimed, batch=batch,
        device=device, queries=queries, faster=faster, out=out, fresh=fresh,
    )  # fmt: skip
    return made.run(seconds=seconds, on_chunk=on_chunk)


def check(
    model: Any = None,
    data: Any = None,
    threat: Threat | str = DEMO_THREAT,
    *,
    claimed: float | None = None,
    limit: int | None = 64,
    seed: int = 0,
    device: str = "auto",
    weights: str | Path | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> dict[str, Examination]:
    """Look at a model before it is attacked: seconds, and no attack.

    The arguments are those of `audit` and `plan`.

    Returns:
        The findings by name of the model: `examination.checks`, and `examination.kind`, `.draws`, `.stops`, ...

    Raises:
        InputError: an argument is not what it should be.
        ModelError: the model fails, or returns something else than scores or labels.
    """
    threat, where = as_threat(threat), as_device(device)
    examples = as_data(data if data is not None else DEMO_DATA)
    _check(limit, "auto", examples, claimed)
    check_settings(seed, 1, None)
    how: dict[str, Any] = {"weights": weights, "bounds": bounds, "mean": mean, "std": std, "device": where}
    given = "small-cnn" if model is None else model
    named = given if isinstance(given, Mapping) else {name_of(given): given}
    x, y = examples.batch(picked(examples, limit, seed).tolist())
    found = {}
    for name, one in named.items():
        made = resolve_or_train(one, data, examples, seed=seed, **how)
        found[str(name)] = examine(made, checked_inputs(x, made), y, threat=threat, claimed=claimed, seed=seed)
    return found


def plan(
    model: Any = None,
    data: Any = None,
    threat: Threat | str = DEMO_THREAT,
    *,
    preset: str = "quick",
    limit: int | None = 500,
    seed: int = 0,
    attacks: Sequence[Attack | str] = (),
    claimed: float | None = None,
    batch: int | str = "auto",
    device: str = "auto",
    queries: int | None = None,
    faster: Sequence[str] = (),
    out: str | Path | None = None,
    fresh: bool = False,
    weights: str | Path | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    command: str = "",
    on_epoch: Callable[[str, int, int], None] | None = None,
) -> Plan:
    """Everything that `audit` does before the first attack: load, train where needed, and write down what will be done.

    The arguments are those of `audit`, and:
        weights: file of weights for a model given as text.
        bounds, mean, std: of a TorchModel made from text or a module.
        command: recorded, and shown in the report.
        on_epoch: called with (name, epochs done, epochs in all) while a network of the demonstration trains.
    """
    threat, where = as_threat(threat), as_device(device)
    examples = as_data(data if data is not None else DEMO_DATA)
    _check(limit, batch, examples, claimed)
    check_settings(seed, 1, queries)
    if isinstance(attacks, str):
        raise InputError(f"attacks must be a list of attacks or names; got {attacks!r}. Write [{attacks!r}].")
    if isinstance(model, Mapping) and not model:
        raise InputError("The mapping of models is empty: {}. Give at least one, as in {'mine': model}.")
    if model is None:
        if weights is not None:
            raise InputError("Weights were given without a model. Say which network they belong to: package.module:factory.")
        subjects, models = demonstration(where, seed, on_epoch)
    else:
        how: dict[str, Any] = {"weights": weights, "bounds": bounds, "mean": mean, "std": std, "device": where}
        named = model if isinstance(model, Mapping) else {name_of(model): model}
        models = {str(name): resolve_or_train(given, data, examples, seed=seed, **how) for name, given in named.items()}
        subjects = [subject(str(name), given, models[str(name)]) for name, given in named.items()]
    ids = tuple(picked(examples, limit, seed).tolist())
    x, _ = examples.batch(ids[:1])
    classes = _agree(models, examples, x)
    tasks = preset_tasks(
        preset, threat, classes=classes, examples=len(ids), access=min(m.access for m in models.values()),
        widest=_widest(threat, x, list(models.values())), attacks=tuple(as_attack(m) for m in attacks),
    )  # fmt: skip
    rows = (512 if where.type == "cuda" else 125) if batch == "auto" else int(batch)
    spec = Spec(
        subjects=tuple(subjects), data=examples.name, data_digest=examples.digest(), examples=ids,
        threat=tasks[0].threat, tasks=tasks, seed=seed, batch=rows, queries=queries, preset=preset, device=str(where),
        faster=_faster(models, faster),
    )  # fmt: skip
    label = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(examples.name).name)
    folder = Path(out) if out is not None else root() / f"{label}-{spec.digest[:12]}"
    if fresh and folder.exists():
        _remove(folder)
    known = _remembered(folder, spec)
    if known is None:
        x, y = examples.batch(ids[:LESSONS])
        known = {
            name: prognosis(m, checked_inputs(x, m), y, threat, claimed=claimed, seed=seed) for name, m in models.items()
        }
    return Plan(spec, models, examples, folder, known, command)


def _remembered(folder: Path, spec: Spec) -> dict[str, Prognosis] | None:
    """What an earlier call found out about the models, if it has begun the same run."""
    if not (folder / "run.sqlite").exists():
        return None
    with Store(folder, write=False) as store:
        if store.meta("spec") != spec.to_json() or not store.meta("prognoses"):
            return None
        found: dict[str, Any] = json.loads(store.meta("prognoses"))
    return {name: Prognosis.of(data) for name, data in found.items()}


def _widest(threat: Threat, x: Tensor, models: Sequence[Model]) -> float:
    """A radius with which every input within the bounds can be reached."""
    low, high = min(m.bounds[0] for m in models), max(m.bounds[1] for m in models)
    return float(threat.size(torch.full_like(x[:1], low), torch.full_like(x[:1], high)).max())


def _faster(models: Mapping[str, Model], means: Sequence[str]) -> tuple[str, ...]:
    """The means, in their order, after a look at whether every model can be made faster so."""
    made = {Accelerated(model, *means).means for model in models.values()} if means else {()}
    return made.pop()


def _check(limit: Any, batch: Any, examples: DataSet, claimed: Any = None) -> None:
    if claimed is not None and (isinstance(claimed, bool) or not isinstance(claimed, int | float) or not 0 <= claimed <= 1):
        raise InputError(f"claimed must be an accuracy from 0 to 1; got {claimed!r}. Write 0.942 for 94.2 %.")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise InputError(f"limit must be at least 1; got {limit!r}. Leave it out for all examples.")
    if batch != "auto" and (not str(batch).isdigit() or int(batch) < 1):
        raise InputError(f"batch must be a number of at least 1 or 'auto'; got {batch!r}.")
    if not len(examples):
        raise InputError(f"The data set {examples.name!r} is empty. There is nothing to audit.")


def _agree(models: Mapping[str, Model], data: DataSet, x: Tensor) -> int:
    """Ask every model once, so that what does not fit is said before anything is recorded; the number of classes."""
    known = len(data.classes)
    for name, model in models.items():
        inputs = checked_inputs(x, model)
        with model.session(), torch.no_grad():
            if model.access < Access.SCORES:
                checked_answers(model, inputs)
                continue
            outputs = checked_logits(model.logits, inputs).shape[1]
        if outputs < known:
            raise InputError(
                f"The data {data.name!r} has {known} classes and the model {name!r} only {outputs} outputs. "
                "Check that they belong together."
            )
        known = max(known, outputs)
    return known


def _speed(model: Model, x: Tensor) -> tuple[float, float, int]:
    """Seconds a row of a forward and of a backward pass, and the number of classes."""
    x, classes = checked_inputs(x, model), 2
    forward, backward = float("inf"), 0.0
    with model.session():
        for _ in range(2):  # the first pass warms up
            started = time.perf_counter()
            with torch.no_grad():
                answer = model.logits(x) if model.access >= Access.SCORES else model.labels(x)
            classes = answer.shape[1] if answer.dim() > 1 else 2
            forward = min(forward, (time.perf_counter() - started) / len(x))
        if isinstance(model, HTTPModel) and model.sent:  # the second pass came from its file
            forward = max(forward, model.seconds / model.sent / model.concurrency)
        if model.access is Access.GRADIENTS:
            leaf = x.clone().requires_grad_()
            started = time.perf_counter()
            with torch.enable_grad():
                torch.autograd.grad(model.logits(leaf).sum(), leaf)
            backward = (time.perf_counter() - started) / len(x) - forward
    return forward, max(backward, forward), classes


def _remove(folder: Path) -> None:
    """Remove a run's folder, and nothing that is not one."""
    if not (folder / "run.sqlite").exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not the folder of a run, so --fresh does not remove it. Choose another --out.")
    shutil.rmtree(folder)
