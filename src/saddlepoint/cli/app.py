"""All commands, in the order in which the help names them."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from saddlepoint.cli import commands as commands
from saddlepoint.cli import show
from saddlepoint.cli import studies as studies
from saddlepoint.cli.memory import keep_freed_memory
from saddlepoint.cli.options import Json, app, guarded


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
