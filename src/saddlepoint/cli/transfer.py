"""What `transfer`, `substitute` and `paper` do, behind their arguments."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from saddlepoint import data as data_sets
from saddlepoint.attacks.transfer import tables
from saddlepoint.attacks.transfer.substitute import Substitute
from saddlepoint.cli import show
from saddlepoint.cli.work import make_attack
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Model
from saddlepoint.data.dataset import DataSet
from saddlepoint.models.resolve import ZOO, is_address, resolve
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import Trainer, as_device, save_weights, seeded
from saddlepoint.subjects import resolve_or_train

KINDS = ("models", "halves", "sources", "confidence")


def table(
    kind: str, models: Sequence[str], attacks: Sequence[str], *, data: str, threat: str, targets: bool, noise: str | None,
    amplify: str | None, confidence: str | None, limit: int | None, seed: int, device: str, batch: int,
) -> tables.Table:  # fmt: skip
    """The table of one kind."""
    if kind not in KINDS:
        raise InputError(f"There is no table {kind!r}. Choose from {', '.join(KINDS)}.")
    if not models:
        raise InputError("A table needs models. Write --model name=package.module:factory, once for each.")
    if kind not in ("sources",) and len(attacks) > 1:
        raise InputError(f"The table {kind!r} is of one attack; got {len(attacks)}. Make one table for each.")
    examples = data_sets.load(data)
    x, y = examples.batch(data_sets.picked(examples, limit, seed))
    named = dict(map(_pair, models))
    if kind == "halves":
        nets = {name: _maker(text, examples) for name, text in named.items()}
        learn = Trainer(epochs=8, seed=seed)
        return tables.cross_training_set(
            nets, data_sets.load(data, "train"), x, y, make_attack(attacks[0], {}), threat,
            fit=lambda net, lessons: learn.fit(net, lessons, device=as_device(device)), noise=show.numbers(noise),
            amplify=show.numbers(amplify) or (), targets=targets, seed=seed, batch=batch,
        )  # fmt: skip
    made = {name: _model(text, data, examples, seed, device) for name, text in named.items()}
    if kind == "sources":
        target = next(iter(made.values()))
        methods = {name: make_attack(name, {}) for name in attacks}
        return tables.attack_sources(target, made, x, y, methods, threat, seed=seed, batch=batch)
    if kind == "confidence":
        if len(made) != 2:
            raise InputError(f"Give two models, the source and then the target; got {len(made)}.")
        source, target = made.values()
        levels = show.numbers(confidence) or []
        method = make_attack(attacks[0], {}) if attacks else None
        return tables.confidence_sweep(source, target, x, y, levels, method, seed=seed, batch=batch)
    return tables.cross_model(
        made, x, y, make_attack(attacks[0], {}), threat, targets=targets, noise=show.numbers(noise),
        amplify=show.numbers(amplify) or (), seed=seed, batch=batch,
    )  # fmt: skip


def substitute(
    out: Path, *, model: str, weights: Path | None, data: str, net: str, seeds: int, settings: dict[str, Any], seed: int,
    device: str, on_round: Callable[[int, int], None],
) -> dict[str, Any]:  # fmt: skip
    """Imitate a model from a few training examples on, and write the weights."""
    if out.suffix != ".safetensors":
        raise InputError(f"Weights are written as safetensors; got {out.name!r}. Name the file something.safetensors.")
    examples, train, where = data_sets.load(data), data_sets.load(data, "train"), as_device(device)
    how: dict[str, Any] = {"bounds": (0.0, 1.0), "mean": None, "std": None}
    oracle = resolve_or_train(model, data, examples, seed=seed, weights=weights, device=where, **how)
    method = Substitute(**{"seed": seed} | settings)
    own = seeded(_maker(net, examples), method.seed)
    x, _ = train.batch(data_sets.picked(train, seeds, seed))
    found = method.fit(oracle, x, own, device=where, on_round=on_round)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(own, out)
    rounds = [{"points": r.points, "asked": r.asked, "agreement": r.agreement} for r in found.rounds]
    return {
        "weights": str(out), "source": f"{net}@{out}", "seeds": len(x), "queries": found.queries,
        "settings": to_config(method), "rounds": rounds,
    }  # fmt: skip


def substituted(found: dict[str, Any]) -> None:
    """Round by round, and what to do with it."""
    rows = [[str(r["points"]), str(r["asked"]), f"{r['agreement']:.1%}"] for r in found["rounds"]]
    show.table(f"{found['queries']} questions, answered alike", ["points", "asked", "agreement"], rows)
    show.OUT.print(f"saddlepoint attack Transfer --set source={found['source']} ...", highlight=False, markup=False)


def drawn(found: tables.Table) -> None:
    """The table on the terminal."""
    show.table(found.title, found.head, found.texts())


def reproduced(found: Any) -> None:
    """A table of a paper, ours and theirs, and what differs."""
    show.table(f"{found.name}: {found.published.place} of {found.published.paper}", found.head, found.texts())
    for sentence in found.differences:
        show.OUT.print(f"- {sentence}", highlight=False)


def _pair(text: str) -> tuple[str, str]:
    """Name and model of "name=model"; a model alone is named after itself."""
    name, equals, model = text.partition("=")
    if not equals or "/" in name or ":" in name:
        return text, text
    return name, model


def _model(text: str, data: str, examples: DataSet, seed: int, device: str) -> Model:
    """A model of "small-cnn", "small-cnn#1" (trained with that seed), "small-cnn@weights" or what else `resolve` knows."""
    weights: str | None = None
    if not is_address(text):
        text, _, own = text.partition("#")
        if own and not own.isdigit():
            raise InputError(f"What follows # is a seed; got {own!r}. Write {text}#1, say.")
        seed = int(own) if own else seed
        text, at, path = text.partition("@")
        weights = path if at else None
    how: dict[str, Any] = {"bounds": (0.0, 1.0), "mean": None, "std": None}
    return resolve_or_train(text, data, examples, seed=seed, weights=weights, device=as_device(device), **how)


def _maker(text: str, examples: DataSet) -> Callable[[], nn.Module]:
    """What makes a fresh network of that name."""
    if not isinstance(text, str) or (text not in ZOO and ":" not in text) or is_address(text):
        raise InputError(f"Name a network that can be trained, small-cnn or package.module:factory; got {text!r}.")

    def make() -> nn.Module:
        made = resolve(text, examples)
        if not isinstance(made, TorchModel):
            raise InputError(f"{text} is not a torch network, and cannot be trained. Name one.")
        return made.net

    if make() is make():
        raise InputError(f"{text} is one network, and several are trained. Name a function that makes one.")
    return make


def write(path: Path | None, found: Any) -> None:
    """Keep the table, if there is a place for it."""
    if path is not None:
        found.save(path)
