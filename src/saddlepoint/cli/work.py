"""What the smaller commands do, behind their arguments."""

import fnmatch
import importlib.util
import platform
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import saddlepoint
from saddlepoint import data as data_sets
from saddlepoint.attacks.learned.perturbation import Perturbation
from saddlepoint.bench import CASES as BENCH
from saddlepoint.core.attack import Attack, LearnedAttack, Seeks
from saddlepoint.core.config import from_config, parsed, to_config
from saddlepoint.core.errors import InputError, SaddlepointError
from saddlepoint.core.goal import Goal, LeastLikely, ReduceConfidence, SourceTarget, Targeted
from saddlepoint.core.play import as_threat, fit
from saddlepoint.core.play import attack as play_attack
from saddlepoint.core.registry import registry
from saddlepoint.core.result import Outcome, Result, Share
from saddlepoint.data.dataset import Subset
from saddlepoint.defenses.gallery import GALLERY
from saddlepoint.evaluation.presets import PRESETS
from saddlepoint.evaluation.run import finite
from saddlepoint.metrics import fooling_rate
from saddlepoint.models.accelerated import MEANS, Accelerated
from saddlepoint.models.resolve import ZOO, resolve
from saddlepoint.models.train import Trainer, as_device, save_weights, seeded
from saddlepoint.papers import PAPERS
from saddlepoint.subjects import resolve_or_train


@dataclass(frozen=True)
class Taught:
    """What was learned before it was played.

    Attributes:
        attack: what is played.
        n: on how many examples it was learned.
        fooling: how many of the examples that it is played on change their answer.
    """

    attack: Attack
    n: int
    fooling: Share


def make_method(method: str, settings: dict[str, Any]) -> Any:
    """The attack of a name or of a TOML file, learned or not, with settings changed."""
    path = Path(method)
    is_file = path.suffix == ".toml" and path.is_file()
    config = parsed(tomllib.loads, path.read_text(), "TOML") if is_file else {"name": method}
    learned = {name.casefold() for name in registry("learned").names()}
    kind = "learned" if str(config.get("name")).casefold() in learned else "attack"
    return from_config(config | settings, kind)


def make_attack(method: str, settings: dict[str, Any]) -> Attack:
    """The same, where only what needs no learning will do."""
    made = make_method(method, settings)
    if not isinstance(made, Attack):
        raise InputError(f"{method} is learned on examples first, which is not possible here. Use PGD, say.")
    return made


def play(
    method: str,
    settings: dict[str, Any],
    *,
    model: str,
    weights: Path | None,
    data: str,
    threat: str,
    goal: str,
    quantize: int | None,
    limit: int | None,
    learn_on: int,
    seed: int,
    device: str,
    batch: int,
    queries: int | None,
    faster: Sequence[str],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    bounds: tuple[float, float],
    progress: bool,
) -> tuple[Result, dict[str, Any], Taught | None]:
    """Play one attack on examples of a data set; what is learned is learned on the training part."""
    attack, threat_, examples = make_method(method, settings), as_threat(threat), data_sets.load(data)
    where = as_device(device)
    made = resolve_or_train(
        model, data, examples, seed=seed, weights=weights, bounds=bounds, mean=mean, std=std, device=where
    )  # fmt: skip
    made = Accelerated(made, *faster) if faster else made
    ids = data_sets.picked(examples, limit, seed)
    x, aim, ids = part(examples, ids, goal)
    config, taught = to_config(attack), None
    if isinstance(attack, LearnedAttack):
        x_learn, aim_learnt, _ = part(*lessons(data, examples, ids, learn_on, seed), goal)
        attack = fit(made, x_learn, aim_learnt, threat_, attack, seed=seed, progress=progress)
        taught = Taught(attack, len(x_learn), fooling_rate(made, x, threat_, attack, seed=seed))
    result = play_attack(
        made, x, aim, threat_, attack,
        seed=seed, ids=ids, batch=batch, queries=queries, quantize=quantize, progress=progress,
    )  # fmt: skip
    return result, config, taught


def part(examples: data_sets.DataSet, ids: Tensor, goal: str) -> tuple[Tensor, Goal, Tensor]:
    """Inputs, goal and numbers of those examples that the goal is about."""
    x, y = examples.batch(ids)
    aim, chosen = make_goal(goal, y)
    return x[chosen], aim, ids[chosen]


def lessons(data: str, played: data_sets.DataSet, ids: Tensor, limit: int, seed: int) -> tuple[data_sets.DataSet, Tensor]:
    """Examples to learn on, none of which is played on, also where the data has no training part of its own."""
    train = data_sets.load(data, "train")
    if train.digest() == played.digest():
        everything = torch.arange(len(train))
        train = Subset(train, everything[~torch.isin(everything, ids)])
    if not len(train):
        raise InputError(f"{data} has no examples to learn on beside the {len(ids)} to play on. Lower --limit.")
    return train, data_sets.picked(train, limit, seed)


def make_goal(text: str, y: Tensor) -> tuple[Goal, Tensor]:
    """The goal that text such as "targeted:3" names, and which examples (n,) it is about."""
    name, _, values = text.partition(":")
    kind = registry("goal").get(name)
    try:
        numbers = [float(v) if kind is ReduceConfidence else int(v) for v in values.split(",") if v]
        if kind is Targeted:
            (target,) = numbers
            other = y != target
            return Targeted(torch.full_like(y[other], int(target))), other
        if kind is SourceTarget:
            source, target = (int(n) for n in numbers)
            own = y == source
            return SourceTarget(y[own], source, target), own
        if kind is LeastLikely and not numbers:
            return LeastLikely(), torch.ones_like(y, dtype=torch.bool)
        return kind(y, *numbers), torch.ones_like(y, dtype=torch.bool)
    except (TypeError, ValueError):
        raise InputError(
            f"The goal {text!r} is not complete. Write untargeted, targeted:3, leastlikely, sourcetarget:4,9 or "
            "reduceconfidence:0.5."
        ) from None


def save(result: Result, path: Path, taught: Taught | None = None) -> None:
    """Write the per-example columns of a result as tensors; and what was learned, so that it can be played from there."""
    names = ("x_adv", "theta", "outcome", "size", "clean", "answer", "queries", "gradients")
    columns, texts = {name: getattr(result, name) for name in names if getattr(result, name) is not None}, None
    if taught is not None and isinstance(taught.attack, Perturbation):
        columns["delta"], texts = taught.attack.learned.delta, taught.attack.learned.metadata()
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in columns.items()}, path, texts)
    except (OSError, SafetensorError) as error:
        raise InputError(f"Could not write {path} ({error}). Choose another --out.") from error


def summary(result: Result, config: dict[str, Any], threat: str, taught: Taught | None = None) -> dict[str, Any]:
    """A result as plain data."""
    learned = {} if taught is None else {"learned_on": taught.n, "fooling_rate": taught.fooling.data()}
    return learned | {
        "attack": config,
        "threat": threat,
        "n": len(result),
        "success_rate": result.success_rate.data(),
        "robust_accuracy": result.robust_accuracy.data(),
        "median_size": finite(result.median_size),
        "outcomes": {o.name: int(result.rows(o).sum()) for o in Outcome},
        "forwards": result.forwards,
        "backwards": result.backwards,
    }


def train(
    out: Path,
    *,
    model: str,
    data: str,
    attack: str | None,
    settings: dict[str, Any],
    threat: str | None,
    epochs: int,
    batch: int,
    learning_rate: float,
    replays: int,
    warmup: int,
    seed: int,
    device: str,
    on_epoch: Callable[[int, float], None],
) -> dict[str, Any]:
    """Train a network and write its weights."""
    examples, test = data_sets.load(data, "train"), data_sets.load(data, "test")
    if out.suffix != ".safetensors":
        raise InputError(f"Weights are written as safetensors; got {out.name!r}. Name the file something.safetensors.")
    trainer = Trainer(
        epochs=epochs, batch=batch, learning_rate=learning_rate, replays=replays, warmup=warmup, seed=seed,
        attack=make_attack(attack, settings) if attack else None, threat=as_threat(threat) if threat else None,
    )  # fmt: skip
    made: Any = seeded(lambda: resolve(model, examples).net, seed)  # type: ignore[attr-defined]
    where = as_device(device)
    fitted = trainer.fit(made, examples, device=where, on_epoch=on_epoch)
    right = 0
    with fitted.session(), torch.no_grad():
        for _, x, y in test.batches(256):
            right += int((fitted.labels(x.to(where)).cpu() == y).sum())
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(made, out)
    return {
        "weights": str(out),
        "trainer": to_config(trainer),
        "data": data,
        "test_accuracy": right / len(test),
        "n": len(test),
    }


KINDS = ("attacks", "learned", "threats", "goals", "data", "models", "faster", "defenses", "papers", "presets", "bench")


def catalog(kind: str, pattern: str) -> dict[str, list[dict[str, str]]]:
    """Tables of everything there is, by kind."""
    if kind != "all" and kind not in KINDS:
        raise InputError(f"There is nothing to list under {kind!r}. Choose from {', '.join(KINDS)}.")
    found: dict[str, list[dict[str, str]]] = {
        "attacks": [attack_row(cls) for cls in registry("attack").classes.values()],
        "learned": [learned_row(cls) for cls in registry("learned").classes.values()],
        "threats": [{"name": c.__name__, "what": first_line(c)} for c in registry("threat").classes.values()],
        "goals": [{"name": c.__name__, "what": first_line(c)} for c in registry("goal").classes.values()],
        "data": [{"name": name, "what": what} for name, what in data_sets.names().items()],
        "models": [{"name": name, "what": first_line(cls)} for name, cls in ZOO.items()],
        "faster": [{"name": name, "what": first_line(means)} for name, means in MEANS.items()],
        "defenses": [{"name": e.name, "masking": e.masking, "what": e.about} for e in GALLERY.values()],
        "papers": [{"name": name, "what": f"made by `saddlepoint paper {name}`"} for name in PAPERS],
        "presets": [{"name": name} for name in PRESETS],
        "bench": [{"name": c.name, "what": c.about, "beside": ", ".join(c.calls)} for c in BENCH.values()],
    }
    for rows in found.values():
        rows[:] = sorted((r for r in rows if fnmatch.fnmatch(r["name"], pattern)), key=lambda r: r["name"].casefold())
    return found if kind == "all" else {kind: found[kind]}


def attack_row(cls: Any) -> dict[str, str]:
    """What an attack needs and gives, with its default settings on 28 x 28 images of ten classes."""
    attack = cls()
    forwards, backwards = attack.passes(784, 10)
    row = learned_row(cls)
    seeks = {"seeks": "minimum" if attack.seeks is Seeks.MINIMUM else "budget", "passes": f"{forwards} f, {backwards} b"}
    order = ("name", "access", "seeks", "threats", "goals", "passes", "paper", "what")
    return {key: (row | seeks)[key] for key in order}


def learned_row(cls: Any) -> dict[str, str]:
    """What an attack needs, learned or not."""
    attack = cls()
    every = registry("threat").classes.items()
    threats = [name for name, threat in every if issubclass(threat, attack.threats)]
    return {
        "name": cls.__name__,
        "access": attack.access.name.lower(),
        "threats": "any" if len(threats) == len(every) else ", ".join(threats),
        "goals": ", ".join(g.__name__ for g in attack.goals),
        "paper": f"{attack.paper.authors.split(',')[0]} {attack.paper.year}",
        "what": first_line(cls),
    }


def first_line(cls: type) -> str:
    """The first sentence of a docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0]


def diagnose() -> dict[str, str]:
    """What works here, in words."""
    found = {
        "saddlepoint": saddlepoint.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        "torchvision": _torchvision(),
        "attacks": f"{len(registry('attack').classes)} registered",
    }
    for name in data_sets.names():
        try:
            found[f"data {name}"] = f"{len(data_sets.load(name))} test examples"
        except SaddlepointError as error:
            found[f"data {name}"] = str(error)
    return found


def _torchvision() -> str:
    if importlib.util.find_spec("torchvision") is None:
        return "not installed; not needed"
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return f"installed but broken ({error}); saddlepoint does not need it, models built on it do"
    return "works"
