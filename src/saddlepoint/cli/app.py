"""The commands."""

import logging
import signal
import sys
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.logging import RichHandler

from saddlepoint.cli import show
from saddlepoint.cli.memory import keep_freed_memory

app = typer.Typer(
    name="saddlepoint",
    help="How robust is this classifier, and can I believe the number?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class Exit(IntEnum):
    """What the shell is told."""

    FINE = 0
    BELOW = 1  # robust accuracy below --fail-under
    USAGE = 2
    NOT_VALID = 3  # the evidence does not support the number
    INTERRUPTED = 4  # the same command goes on


Json = Annotated[bool, typer.Option("--json", help="Print plain data instead of tables.")]
Model = Annotated[
    str | None,
    typer.Argument(
        help="package.module:network or :factory, http://..., small-cnn, or a broken defense. Left out: the demonstration."
    ),
]
Study = Annotated[str, typer.Argument(help="package.module:network or :factory, small-cnn, or a broken defense.")]
Data = Annotated[str | None, typer.Option(help="Name, folder of images, or .npz file. `saddlepoint list data` shows names.")]
Threat = Annotated[str, typer.Option(help="linf:0.3, l2:2, l1:10, l0:20; l2 alone has no radius; spatial:30,3, flow:1.")]
Claimed = Annotated[float | None, typer.Option(help="Clean accuracy that is claimed: 0.942.")]
Weights = Annotated[Path | None, typer.Option(help="File of weights: safetensors, or a checkpoint of plain tensors.")]
Seed = Annotated[int, typer.Option(help="Key of all randomness.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Batch = Annotated[str, typer.Option(help="Rows at once, or auto.")]
Limit = Annotated[int | None, typer.Option(help="Number of examples, drawn with the seed; 0 for all.")]
Mean = Annotated[str | None, typer.Option(help="Subtracted from the input, one number or one a channel: 0.49,0.48,0.45.")]
Std = Annotated[str | None, typer.Option(help="Divided by, likewise.")]
Bounds = Annotated[str, typer.Option(help="Lowest and highest value of an input.")]
Queries = Annotated[int | None, typer.Option(help="Forward passes an attack may spend on an example.")]
Faster = Annotated[
    str | None,
    typer.Option(help="Search on a faster copy of the network: bf16,channels-last. `saddlepoint list faster` shows all."),
]


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of this library as one line and exit code 2, interruption as exit code 4; --debug shows tracebacks."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        from saddlepoint.core.errors import SaddlepointError

        try:
            return command(*args, **kwargs)
        except SaddlepointError as error:
            if _state["debug"]:
                raise
            show.complain(str(error))
            raise typer.Exit(Exit.USAGE) from None
        except KeyboardInterrupt:
            show.complain("Interrupted. What is done is kept: the same command goes on from here.")
            raise typer.Exit(Exit.INTERRUPTED) from None

    return run


_state = {"debug": False}


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """How robust is this classifier, and can I believe the number?"""
    _state["debug"] = debug
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=show.ERR, show_path=False)]
    )
    logging.getLogger("saddlepoint").setLevel(level)


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
    rounds: Annotated[int, typer.Option(help="How often everybody plays.", min=1)] = 3,
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


@app.command()
@guarded
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")], json: Json = False) -> None:
    """Write the report of a run again, from its records alone, and print its numbers."""
    from saddlepoint.evaluation.run import Run
    from saddlepoint.report import write_report

    run = Run(folder)
    run.write()
    write_report(run)
    result = run.result()
    show.emit(result, json, lambda: show.audited(run, result))


@app.command(name="list")
@guarded
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            help="attacks, learned, threats, goals, data, models, faster, defenses, papers, presets, bench; left out, all."
        ),
    ] = "all",
    pattern: Annotated[str, typer.Argument(help="Only names that match, as in 'A*'.")] = "*",
    json: Json = False,
) -> None:
    """Everything there is."""
    from saddlepoint.cli import work

    found = work.catalog(kind, pattern)
    show.emit(found, json, lambda: show.catalog(found))


@app.command()
@guarded
def doctor(json: Json = False) -> None:
    """Versions, device, data sets: what works here and what to do about the rest."""
    from saddlepoint.cli import work

    found = work.diagnose()
    show.emit(found, json, lambda: show.table("Doctor", ["what", "found"], [[k, str(v)] for k, v in found.items()]))


def main() -> None:
    """Entry point of the `saddlepoint` command."""
    keep_freed_memory()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()
