"""What all commands share: the application, its exit codes, and options."""

import logging
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.logging import RichHandler

from saddlepoint.cli import show

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
