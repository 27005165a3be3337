"""The commands that study one thing of a model, or several models."""

from pathlib import Path
from typing import Annotated

import typer

from saddlepoint.cli import show
from saddlepoint.cli.options import Bounds, Data, Device, Json, Limit, Mean, Seed, Std, Study, Weights, app, guarded


@app.command()
@guarded
def trace(
    model: Study = "small-cnn",
    weights: Weights = None,
    data: Data = "mnist-5k",
    index: Annotated[int, typer.Option(help="Which test example.", min=0)] = 0,
    threat: Annotated[str, typer.Option(help="Whose steepest direction to follow: linf, l2, spatial:30,3, ...")] = "linf",
    eps: Annotated[float, typer.Option(help="Farthest place on either side.")] = 10.0,
    points: Annotated[int, typer.Option(help="Places on the line, an odd number.")] = 201,
    seed: Seed = 0,
    device: Device = "auto",
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    out: Annotated[Path | None, typer.Option(help="Draw it in this file: .png, .svg, .pdf.")] = None,
    json: Json = False,
) -> None:
    """Follow the logits of one example along the direction of the fast gradient sign method."""
    from saddlepoint.cli import study

    made, examples = study.subject(
        model, data or "mnist-5k", weights=weights, seed=seed, device=device, mean=show.numbers(mean),
        std=show.numbers(std), bounds=show.pair(bounds),
    )  # fmt: skip
    found = study.trace(made, examples, index, threat, eps, points, out)
    show.emit(found, json, lambda: study.traced(found))


@app.command()
@guarded
def rubbish(
    model: Study = "small-cnn",
    weights: Weights = None,
    data: Data = "mnist-5k",
    samples: Annotated[int, typer.Option(help="Noise inputs of each kind.", min=1)] = 1000,
    attack: Annotated[str, typer.Option(help="Attack that turns noise into a wanted class.")] = "PGD",
    threat: Annotated[str, typer.Option(help="How far it may change the noise.")] = "linf:0.1",
    each: Annotated[int, typer.Option(help="Noise inputs for each wanted class; 0 for no attack.", min=0)] = 10,
    seed: Seed = 0,
    device: Device = "auto",
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    out: Annotated[Path | None, typer.Option(help="Draw a gallery in this file: .png, .svg, .pdf.")] = None,
    json: Json = False,
) -> None:
    """Show noise to a model, and count how often it is sure of a class."""
    from saddlepoint.cli import study

    made, examples = study.subject(
        model, data or "mnist-5k", weights=weights, seed=seed, device=device, mean=show.numbers(mean),
        std=show.numbers(std), bounds=show.pair(bounds),
    )  # fmt: skip
    found = study.rubbish(made, examples, samples, attack, threat, each, seed, out)
    show.emit(found, json, lambda: study.strewn(found))


@app.command()
@guarded
def reach(
    model: Study = "small-cnn",
    weights: Weights = None,
    data: Data = "mnist-5k",
    attack: Annotated[str, typer.Option(help="Name, or settings as a TOML file.")] = "OnePixel",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Setting of the attack, steps=100; repeatable.")] = None,
    threat: Annotated[str, typer.Option(help="l0:1 is one pixel; linf:0.3, l2:2, ...")] = "l0:1",
    limit: Annotated[int | None, typer.Option(help="Number of examples, drawn with the seed; 0 for all.")] = 20,
    sure: Annotated[bool, typer.Option("--sure", help="Go on after the first win, for the highest confidence.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    mean: Mean = None,
    std: Std = None,
    bounds: Bounds = "0,1",
    out: Annotated[Path | None, typer.Option(help="Draw the map in this file: .png, .svg, .pdf.")] = None,
    json: Json = False,
) -> None:
    """Which classes each example can be turned into: attack it toward every wrong class."""
    from saddlepoint.cli import study

    made, examples = study.subject(
        model, data or "mnist-5k", weights=weights, seed=seed, device=device, mean=show.numbers(mean),
        std=show.numbers(std), bounds=show.pair(bounds),
    )  # fmt: skip
    found = study.reach(made, examples, attack, show.settings(set_), threat, limit or None, sure, seed, out)
    show.emit(found, json, lambda: study.reached(found))


@app.command()
@guarded
def transfer(
    kind: Annotated[
        str,
        typer.Argument(
            help="models: what fools one, put to the others. halves: the same for networks trained on halves of the data. "
            "sources: the first model's accuracy, by attack and source. confidence: source and target, by confidence."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(help="name=model, repeatable: package.module:factory, small-cnn@weights, or small-cnn#1 for a seed."),
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Name, or settings as a TOML file; for sources repeatable.")
    ] = None,
    data: Data = "mnist-5k",
    threat: Annotated[str, typer.Option(help="linf:0.3, l2:2; l2 alone has no radius.")] = "l2",
    targets: Annotated[bool, typer.Option(help="Toward a random wrong class of each example, or any.")] = True,
    noise: Annotated[
        str | None, typer.Option(help="Standard deviations of noise, 0.1,0.3; left out, those of the crafted changes.")
    ] = None,
    amplify: Annotated[str | None, typer.Option(help="Distortions to stretch the crafted changes to: 0.1.")] = None,
    confidence: Annotated[str, typer.Option(help="Of the attack, in the source's logits.")] = "0,5,10,15,20,25,30,35,40",
    limit: Limit = 100,
    seed: Seed = 0,
    device: Device = "auto",
    batch: Annotated[int, typer.Option(help="Rows at once.", min=1)] = 256,
    out: Annotated[Path | None, typer.Option(help="Keep the table in this file: .json or .md.")] = None,
    json: Json = False,
) -> None:
    """Draw a table of what fools one model and another."""
    from saddlepoint.cli import transfer as tables

    usual = {"confidence": [], "sources": ["FGSM", "PGD"]}.get(kind, ["LBFGS"])
    found = tables.table(
        kind, model or [], attack or usual, data=data or "mnist-5k", threat=threat, targets=targets, noise=noise,
        amplify=amplify, confidence=confidence, limit=limit or None, seed=seed, device=device, batch=batch,
    )  # fmt: skip
    tables.write(out, found)
    show.emit(found.data(), json, lambda: tables.drawn(found))


@app.command()
@guarded
def substitute(
    out: Annotated[Path, typer.Argument(help="Where the substitute's weights go: a .safetensors file.")],
    model: Annotated[str, typer.Option(help="The oracle: package.module:function, http://..., small-cnn.")] = "small-cnn",
    weights: Weights = None,
    data: Data = "mnist-5k",
    net: Annotated[str, typer.Option(help="What is trained: small-cnn, or package.module:factory.")] = "small-cnn",
    seeds: Annotated[int, typer.Option(help="Training examples to begin with.", min=1)] = 150,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Setting, rounds=6, period=3, reservoir=400; repeatable.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train a network on the answers of a model that only answers; attack it, and show the model what comes out."""
    from saddlepoint.cli import transfer as tables

    with show.Bars(quiet=json) as bars:
        found = tables.substitute(
            out, model=model, weights=weights, data=data or "mnist-5k", net=net, seeds=seeds,
            settings=show.settings(set_), seed=seed, device=device,
            on_round=lambda done, rounds: bars.epoch("rounds", done, rounds),
        )  # fmt: skip
    show.emit(found, json, lambda: tables.substituted(found))


@app.command()
@guarded
def paper(
    name: Annotated[str, typer.Argument(help="Which table: szegedy2014-transfer or szegedy2014-halves.")],
    limit: Annotated[
        int | None, typer.Option(help="Number of examples; left out, as many as the table is made for.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Keep both tables in this .json file.")] = None,
    json: Json = False,
) -> None:
    """Make a table of a paper again, and draw it beside the published one."""
    from saddlepoint.cli import transfer as tables
    from saddlepoint.papers import reproduce

    found = reproduce(name, limit=limit, seed=seed, on_step=lambda what: None if json else show.tell(what))
    tables.write(out, found)
    show.emit(found.data(), json, lambda: tables.reproduced(found))


@app.command()
@guarded
def bench(
    cases_: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE]...", help="Measured anew; left out, all that are not done.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="How often everybody plays; 3, and on until a minute is spent.", min=1)
    ] = None,
    limit: Annotated[float, typer.Option(help="Seconds of CPU time for one library in one round.")] = 120.0,
    out: Annotated[
        Path | None, typer.Option(help="The .json file to write, and to go on with; left out, runs/bench.json.")
    ] = None,
    cases: Annotated[Path, typer.Option(help="Folder of the networks.")] = Path("tests/reference/cases"),
    json: Json = False,
) -> None:
    """Measure this library beside the public ones: success, distance, passes and CPU time, all judged alike.

    Written down after every case; the same command goes on where it stopped. A library that is not installed is a row that
    says how to install it. `saddlepoint list bench` shows the cases.
    """
    from saddlepoint.cli import bench as benchmark

    benchmark.run(cases_ or [], rounds=rounds, limit=limit, out=out, cases=cases, json=json)
