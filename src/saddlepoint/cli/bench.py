"""What `bench` does, behind its arguments."""

from collections.abc import Sequence
from pathlib import Path

from saddlepoint.bench import bench, suite
from saddlepoint.bench.case import Case
from saddlepoint.bench.rounds import Row
from saddlepoint.bench.table import COLUMNS, lines, verdicts
from saddlepoint.cli import show
from saddlepoint.models.cache import root


def run(names: Sequence[str], *, rounds: int | None, limit: float, out: Path | None, cases: Path, json: bool) -> None:
    """Measure, saying each play on standard error, and draw a table a case."""
    path = out or root() / "bench.json"

    def told(case: Case, label: str, turn: int, row: Row) -> None:
        result = row.get("error") or f"{row['seconds']:.2f} s, success {row['success']:.1%}"
        show.tell(f"{case.name}, round {turn + 1}: {label}: {result}")

    report = bench(*names, rounds=rounds, limit=limit, out=path, cases=cases, told=None if json else told)
    show.emit(report, json, lambda: drawn(report, names, path))


def drawn(report: suite.Report, names: Sequence[str], path: Path) -> None:
    """The cases asked for as tables, and whether the bars hold."""
    for case in suite.known(names or report["cases"]):
        entry = report["cases"][case.name]
        title = f"{case.name}: {case.about} ({case.net}, {case.n} examples; {case.budget})"
        show.table(title, COLUMNS, lines(entry))
        for sentence in verdicts(entry):
            show.tell(f"  {sentence}")
    show.tell(f"data     {path}")
