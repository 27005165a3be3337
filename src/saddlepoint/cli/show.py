"""What people see: tables, bars, one-line complaints; and the small readers of option texts."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

MARKS = {"trusted": "[green]✓ trusted[/]", "repaired": "[blue]↻ repaired[/]", "not trusted": "[bold red]✗ not trusted[/]"}
OUT = Console()
ERR = Console(stderr=True)


def complain(sentence: str) -> None:
    """One line on standard error."""
    ERR.print(f"[bold red]saddlepoint:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def tell(what: str) -> None:
    """What is done next, on standard error."""
    ERR.print(escape(what), soft_wrap=True, highlight=False)


def emit(data: Any, as_json: bool, draw: Callable[[], None]) -> None:
    """Plain data on standard output, or a drawing."""
    if as_json:
        sys.stdout.write(json.dumps(data, indent=1, allow_nan=False) + "\n")
    else:
        draw()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column is text, the others too, all escaped."""
    made = Table(title=escape(title), title_justify="left", title_style="bold")
    for name in columns:
        made.add_column(escape(name), overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    OUT.print(made)


def percent(share: dict[str, Any] | None) -> str:
    """A share with its interval."""
    if share is None or share["value"] is None:
        return "-"
    return f"{share['value']:6.1%}  [{share['low']:.1%}, {share['high']:.1%}]"


def audited(run: Any, result: dict[str, Any]) -> None:
    """The tables and the verdict of an audit."""
    for subject in result["subjects"]:
        from saddlepoint.evaluation.spec import DECIDING
        from saddlepoint.report.words import label

        rows = []
        for attack in subject["attacks"]:
            if attack["role"] not in DECIDING or not (attack["role"] == "main" or attack["forwards"]):
                continue
            size = "-" if attack["median_size"] is None else f"{attack['median_size']:.3g}"
            passes = f"{attack['forwards']}/{attack['backwards']}"
            name = label(attack["task"], attack["role"])
            rows.append([name, percent(attack["success"]), percent(attack["robust"]), size, passes])
        robust = subject["robust"]
        bracket = "no number" if robust is None else percent(robust["low"])
        if robust and robust["undecided"]:
            bracket += f" to {robust['high']['value']:.1%}, {robust['undecided']} undecided"
        rows.append(["worst case per example", "", bracket, "", ""])
        clean = f"clean accuracy {percent(subject['clean']).strip()}"
        title = f"{subject['name']}: {clean} (n={subject['clean']['n']}), {result['threat']}"
        table(title, ["attack", "success rate", "accuracy left", "median size", "passes f/b"], rows)
        mark = MARKS[subject["verdict"]["state"]]
        OUT.print(f"{mark} {escape(subject['name'])}: {escape(subject['verdict']['sentence'])}", soft_wrap=True)
        doubtful(subject["checks"])
        OUT.print()
    OUT.print(f"report   {run.folder / 'report.html'}", soft_wrap=True, highlight=False)
    OUT.print(f"data     {run.folder / 'result.json'}, records.csv", soft_wrap=True, highlight=False)


def examined(found: dict[str, dict[str, Any]]) -> None:
    """What was found before any attack."""
    for name, examination in found.items():
        rows = []
        for check in examination["checks"]:
            end = "ok" if check["passed"] else "repaired" if check["remedy"] else "NOT REPAIRED"
            rows.append([check["name"], end, check["finding"] + (f" → {check['remedy']}" if end == "repaired" else "")])
        passes = f"{examination['forwards']} forward, {examination['backwards']} backward passes"
        table(f"{name}: before the attacks ({passes})", ["what", "", "finding"], rows)


def doubtful(checks: Sequence[dict[str, Any]]) -> None:
    """The lines that did not pass."""
    for check in checks:
        if not check["passed"]:
            color, end = ("blue", f" → {check['remedy']}") if check["remedy"] else ("red", "")
            OUT.print(f"    [{color}]{escape(check['name'])}[/]: {escape(check['finding'] + end)}", soft_wrap=True)


def attacked(result: Any, config: dict[str, Any], threat: str, taught: Any = None) -> None:
    """What one attack found, after learning if it is one that learns."""
    from saddlepoint.core.result import Outcome

    counts = {o.name: int(result.rows(o).sum()) for o in Outcome}
    rows = [
        ["attack success rate", str(result.success_rate)],
        *([["fooling rate", str(taught.fooling)], ["learned on", f"{taught.n} examples"]] if taught else []),
        ["robust accuracy", str(result.robust_accuracy)],
        ["median size", f"{result.median_size:.4g}"],
        *[[name, str(count)] for name, count in counts.items() if count],
        ["forward passes", f"{result.forwards} ({result.forwards / max(1, len(result)):.1f} an example)"],
        ["backward passes", f"{result.backwards} ({result.backwards / max(1, len(result)):.1f} an example)"],
    ]
    table(f"{config['name']} @ {threat}", ["", ""], rows)


def catalog(found: dict[str, list[dict[str, str]]]) -> None:
    """Tables of everything there is."""
    for kind, rows in found.items():
        if rows:
            columns = [c for c in rows[0] if kind not in ("attacks", "learned") or c not in ("goals", "what")]
            table(kind, columns, [[row[c] for c in columns] for row in rows])


class Bars:
    """Progress of training and of attacks on standard error; nothing when quiet or not on a terminal."""

    def __init__(self, quiet: bool) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        )  # fmt: skip
        self.quiet = quiet
        self.progress = Progress(*columns, console=ERR, disable=quiet or not ERR.is_terminal, transient=True)
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def epoch(self, name: str, done: int, total: int) -> None:
        """An epoch of training is over."""
        key = f"training {name}"
        if key not in self.tasks:
            self.tasks[key] = self.progress.add_task(escape(key), total=total)
        self.progress.update(self.tasks[key], completed=done)

    def announce(self, plan: Any, seconds: float | None) -> None:
        """Say what will be done and how long it may take, before it begins."""
        self.tasks["rows"] = self.progress.add_task("attacking", total=plan.rows)
        if self.quiet:
            return
        spec = plan.spec
        limit = f", stopped after {length(seconds)}" if seconds is not None else ""
        ERR.print(
            f"{len(spec.subjects)} model(s), {len(spec.examples)} examples of {escape(spec.data)}, threat {spec.threat}, "
            f"{len(spec.tasks)} tasks ({spec.preset}), at most {length(plan.predict())} on this machine{limit}.",
            soft_wrap=True,
            highlight=False,
        )

    def chunk(self, chunk: Any, _: bool) -> None:
        """A chunk is done."""
        from saddlepoint.evaluation.spec import RESCUE

        name, bar = f"{chunk.subject}: {chunk.task.attack['name']}", "rows"
        if chunk.task.role in RESCUE:  # played because of what was found: nobody knew before how much that would be
            name, bar = f"{name}, since the result is in doubt", "more"
            if bar not in self.tasks:
                self.tasks[bar] = self.progress.add_task(bar, total=None)
        self.progress.update(self.tasks[bar], advance=len(chunk.ids), description=escape(name))


def length(seconds: float) -> str:
    """A duration in words: 40 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def usage(sentence: str) -> Exception:
    """An error of an option's text."""
    from saddlepoint.core.errors import InputError

    return InputError(sentence)


def names(text: str | None) -> list[str]:
    """The names in "bf16,channels-last"."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def duration(text: str | None) -> float | None:
    """Seconds of "90s", "10m", "2h" or a bare number of seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match:
        raise usage(f"A duration is a number with s, m or h; got {text!r}. Write 10m, say.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def numbers(text: str | None) -> list[float] | None:
    """Numbers of "0.49,0.48,0.45"."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise usage(f"Expected numbers separated by commas; got {text!r}. Write 0.49,0.48,0.45, say.") from None


def pair(text: str) -> tuple[float, float]:
    """The two numbers of "0,1"."""
    found = numbers(text) or []
    if len(found) != 2:
        raise usage(f"Bounds are two numbers; got {text!r}. Write 0,1, say.")
    return found[0], found[1]


def settings(texts: Sequence[str] | None) -> dict[str, Any]:
    """Settings of ["steps=100", "loss=dlr"], values as JSON where they are, else as text."""
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise usage(f"A setting is name=value; got {text!r}. Write steps=100, say.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def command_line() -> str:
    """The command as it was typed."""
    return "saddlepoint " + shlex.join(sys.argv[1:])
