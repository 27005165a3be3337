"""The benchmark: case after case, written down after each, and gone on with where it stopped."""

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from saddlepoint import __version__
from saddlepoint.bench import nets
from saddlepoint.bench.case import Case
from saddlepoint.bench.cases import CASES
from saddlepoint.bench.libraries import installed, versions
from saddlepoint.bench.rounds import Row, measure, summary
from saddlepoint.bench.verdict import verdicts
from saddlepoint.core.errors import InputError, UnknownName
from saddlepoint.core.registry import did_you_mean

ABSENT = "not installed"
Told = Callable[[Case, str, int, Row], None]
Report = dict[str, Any]


def bench(
    *names: str,
    rounds: int | None = None,
    limit: float = 120.0,
    out: str | Path | None = None,
    cases: str | Path = nets.CASES,
    told: Told | None = None,
) -> Report:
    """Measure cases side by side with the public libraries, on one thread.

    Args:
        names: of cases, measured anew; none for all, of which those that the file holds already are kept, unless the case
            has changed or a library has been installed since.
        rounds: how often everybody plays; None for 3, and on until a minute is spent on the case, or 15. A case may allow
            a slow library fewer.
        limit: seconds of CPU time for one side in one round.
        out: the .json file to write after every case, and to go on with; None for no file.
        cases: the folder of networks.
        told: called after each play, with the case, who played, the round and the row.

    Returns: {"cases": {name: entry}}; an entry holds what was asked, results by side, the bars, versions and the machine.

    Raises:
        UnknownName: there is no such case.
        InputError: rounds or limit make no sense, or there are no networks in the folder, or `out` cannot be used.
    """
    chosen = [case_of(name) for name in names] or list(CASES.values())
    if limit <= 0 or (rounds is not None and rounds < 1):
        raise InputError(f"Rounds and limit must be above zero; got {rounds} and {limit:g}. Leave them out, say.")
    path = None if out is None else Path(out)
    report: Report = {"cases": read(path)}
    for case in chosen:
        if not names and fresh(case, report["cases"].get(case.name)):
            kept = report["cases"][case.name]
            kept["bars"] = verdicts(case, kept["results"])  # bars may have moved; figures have not
            continue
        with one_thread():
            played = nets.match(case.net, case.n, Path(cases))
            found = measure(case, played, rounds=rounds, limit=limit, told=_for(case, told))
        report["cases"][case.name] = entry(case, found, limit)
        report["cases"] = {name: report["cases"][name] for name in CASES if name in report["cases"]}
        if path is not None:
            write(path, report)
    return report


def case_of(name: str) -> Case:
    """The case of that name.

    Raises UnknownName, with the nearest name.
    """
    if name not in CASES:
        raise UnknownName(f"There is no case named {name!r}.{did_you_mean(name, CASES)} `saddlepoint list bench` shows all.")
    return CASES[name]


def entry(case: Case, found: dict[str, list[Row]], limit: float) -> dict[str, Any]:
    """What is kept of a case."""
    results = summary(found)
    return {
        "asked": case.data(),
        "results": results,
        "bars": verdicts(case, results),
        "rows": found,
        "limit": limit,
        "versions": {"saddlepoint": __version__, "python": platform.python_version()} | versions(),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """The processor and the threads that were used."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return {"cpu": model, "cores": os.cpu_count(), "threads": 1, "system": platform.system()}


def fresh(case: Case, kept: dict[str, Any] | None) -> bool:
    """Whether what is kept of a case is all that could be measured now."""
    if kept is None or kept["asked"] != json.loads(json.dumps(case.data())):
        return False
    missed = [label for label, row in kept["results"].items() if row.get("error", "").startswith(ABSENT)]
    return not any(installed(label) for label in missed)


def read(path: Path | None) -> dict[str, Any]:
    """The cases that a file holds.

    Raises InputError where it is not a file of the benchmark.
    """
    if path is None or not path.exists():
        return {}
    try:
        cases: dict[str, Any] = json.loads(path.read_text())["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no file of the benchmark ({type(error).__name__}). Choose another path.") from None
    return cases


def write(path: Path, report: Report) -> None:
    """Put the report in the place of the one before, whole or not at all."""
    text = json.dumps({"command": "saddlepoint bench"} | report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text)
        beside.replace(path)
    except OSError as error:
        raise InputError(f"Could not write {path} ({error}). Choose another path.") from None


def known(names: Iterable[str]) -> list[Case]:
    """The cases of some names that there still are."""
    return [CASES[name] for name in names if name in CASES]


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and afterwards on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _for(case: Case, told: Told | None) -> Callable[[str, int, Row], None] | None:
    return None if told is None else lambda label, turn, row: told(case, label, turn, row)
