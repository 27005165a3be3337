"""The commands that say how robust a model is, and make one more so."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from saddlepoint.cli import show
from saddlepoint.cli.options import (
    Batch,
    Bounds,
    Claimed,
    Data,
    Device,
    Exit,
    Faster,
    Json,
    Limit,
    Mean,
    Model,
    Queries,
    Seed,
    Std,
    Threat,
    Weights,
    app,
    guarded,
)


@app.command()
@guarded
def audit(
    model: Model = None,
    weights: Weights = None,
    data: Data = None,
    threat: Threat = "linf:0.2",
    preset: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "quick",
    attack: Annotated[list[str] | None, typer.Option(help="Attack by name, instead of the preset's; repeatable.")] = None,
    claimed: Claimed = None,
    limit: Limit = 500,
    seed: Seed = 0,
    device: Device = "auto",
    batch: Batch = "auto",
    budget: Annotated[str | None, typer.Option(help="Time to spend on attacks: 90s, 10m, 2h.")] = None,
    queries: Queries = None,
    faster: Faster = None,
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    out: Annotated[Path | None, typer.Option(help="The run's folder; the same folder goes on where it stopped.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what the folder holds first.")] = False,
    fail_under: Annotated[float | None, typer.Option(help="Exit with 1 if robust accuracy is below.", min=0, max=1)] = None,
    json: Json = False,
) -> None:
    """Attack a model, judge the evidence, and write a report.

    Without a model: train a plain and an adversarially trained network for digits, and audit both. The same command again
    goes on where it stopped, or prints the same numbers when all is done.
    """
    from saddlepoint.auditing import plan

    seconds = show.duration(budget)
    with show.Bars(quiet=json) as bars:
        made = plan(
            model, data, threat, preset=preset, limit=limit or None, seed=seed, attacks=attack or (), claimed=claimed,
            batch=batch, device=device, queries=queries, faster=show.names(faster), out=out, fresh=fresh, weights=weights,
            bounds=show.pair(bounds), mean=show.numbers(mean), std=show.numbers(std), command=show.command_line(),
            on_epoch=bars.epoch,
        )  # fmt: skip
        bars.announce(made, seconds)
        run = made.run(seconds=seconds, on_chunk=bars.chunk)
    result = run.result()
    show.emit(result, json, lambda: show.audited(run, result))
    _leave(result, fail_under)


@app.command()
@guarded
def check(
    model: Model = None,
    weights: Weights = None,
    data: Data = None,
    threat: Threat = "linf:0.2",
    claimed: Claimed = None,
    limit: Limit = 64,
    seed: Seed = 0,
    device: Device = "auto",
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    json: Json = False,
) -> None:
    """Look at a model before it is attacked: what kind of answers it gives, and what would make an attack fail unnoticed.

    Seconds of work. Exit code 3 if something was found that no repair of the attack can do anything about.
    """
    from dataclasses import asdict

    from saddlepoint.auditing import check as look

    found = look(
        model, data, threat, claimed=claimed, limit=limit or None, seed=seed, device=device, weights=weights,
        bounds=show.pair(bounds), mean=show.numbers(mean), std=show.numbers(std),
    )  # fmt: skip
    plain = {name: asdict(examination) for name, examination in found.items()}
    show.emit(plain, json, lambda: show.examined(plain))
    hopeless = any(not c["passed"] and not c["remedy"] for e in plain.values() for c in e["checks"])
    raise typer.Exit(Exit.NOT_VALID if hopeless else Exit.FINE)


def _leave(result: dict[str, Any], fail_under: float | None) -> NoReturn:
    if not all(s["verdict"]["valid"] for s in result["subjects"]):
        raise typer.Exit(Exit.NOT_VALID)
    if fail_under is not None:
        below = [s for s in result["subjects"] if (s["robust"]["low"]["value"] or 0.0) < fail_under]
        for subject in below:
            show.complain(
                f"{subject['name']}: robust accuracy {subject['robust']['low']['value']:.3f} is below {fail_under}."
            )
        raise typer.Exit(Exit.BELOW if below else Exit.FINE)
    raise typer.Exit(Exit.FINE)


@app.command()
@guarded
def attack(
    method: Annotated[str, typer.Argument(help="Name of an attack, or its settings as a TOML file.")],
    model: Annotated[
        str, typer.Option(help="package.module:network or :factory, http://..., small-cnn, or a broken defense.")
    ] = "small-cnn",
    weights: Weights = None,
    data: Data = "mnist-5k",
    threat: Threat = "linf:0.2",
    goal: Annotated[
        str, typer.Option(help="untargeted, targeted:3, leastlikely, sourcetarget:4,9 or reduceconfidence:0.5.")
    ] = "untargeted",
    quantize: Annotated[
        int | None, typer.Option(help="Show the model this many levels alone: 256 for 8-bit images.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Setting of the attack, steps=100; repeatable.")] = None,
    limit: Limit = 100,
    learn_on: Annotated[
        int, typer.Option(help="Training examples to learn on, for an attack that is learned.", min=1)
    ] = 500,
    seed: Seed = 0,
    device: Device = "auto",
    batch: Annotated[int, typer.Option(help="Rows at once.", min=1)] = 256,
    queries: Queries = None,
    faster: Faster = None,
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    out: Annotated[
        Path | None, typer.Option(help="Write inputs, outcomes and what was learned to this .safetensors file.")
    ] = None,
    json: Json = False,
) -> None:
    """Play one attack, and print what it found.

    The network small-cnn without --weights is trained on the data first, and kept for the next time. An attack that is
    learned (`saddlepoint list learned`) learns on the training part of the data and is played on the test part.
    """
    from saddlepoint.cli import work

    result, config, taught = work.play(
        method, show.settings(set_), model=model, weights=weights, data=data or "mnist-5k", threat=threat, goal=goal,
        quantize=quantize, limit=limit or None, learn_on=learn_on, seed=seed, device=device, batch=batch, queries=queries,
        faster=show.names(faster), mean=show.numbers(mean), std=show.numbers(std), bounds=show.pair(bounds),
        progress=not json,
    )  # fmt: skip
    if out is not None:
        work.save(result, out, taught)
    data_ = work.summary(result, config, threat, taught)
    show.emit(data_, json, lambda: show.attacked(result, config, threat, taught))


@app.command()
@guarded
def train(
    out: Annotated[Path, typer.Argument(help="Where the weights go: a .safetensors file.")],
    model: Annotated[
        str, typer.Option(help="package.module:network or :factory, small-cnn, or a broken defense.")
    ] = "small-cnn",
    data: Data = "mnist-5k",
    attack: Annotated[str | None, typer.Option(help="Inner maximizer; left out, standard training.")] = None,
    threat: Annotated[str | None, typer.Option(help="Where it may search, as in linf:0.2.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Setting of the attack, steps=7; repeatable.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.", min=1)] = 10,
    batch: Annotated[int, typer.Option(help="Examples a step.", min=1)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Highest of the cycle.")] = 2e-3,
    replays: Annotated[int, typer.Option(help="Steps a batch: free adversarial training, without --attack.", min=1)] = 1,
    warmup: Annotated[int, typer.Option(help="Epochs over which the radius grows.", min=0)] = 0,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train a network, on clean examples or on what an attack makes of them."""
    from saddlepoint.cli import work

    with show.Bars(quiet=json) as bars:
        summary = work.train(
            out, model=model, data=data or "mnist-5k", attack=attack, settings=show.settings(set_), threat=threat,
            epochs=epochs, batch=batch, learning_rate=learning_rate, replays=replays, warmup=warmup, seed=seed,
            device=device,
            on_epoch=lambda done, _: bars.epoch("training", done, epochs),
        )  # fmt: skip
    show.emit(summary, json, lambda: show.table("Trained", ["", ""], [[k, str(v)] for k, v in summary.items()]))
