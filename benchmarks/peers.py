"""Measure public attack libraries on three fixed cases, so that their numbers can be cited and checked.

    python benchmarks/peers.py tests/reference/cases tests/reference/peers.json [--case NAME] [--limit SECONDS] [ROW ...]

Needs this project and the libraries themselves (`make peers` installs them). Every row of peer_rows.py gives all the same
budget. How a library is called, judged and counted is that of saddlepoint.bench. A row is saved as soon as it is done.
Rows named on the command line are run alone, in that order, a name being that of a row, or of an attack for all of its rows.
"""

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peer_rows import CASES, NOTES, SEED, Row, table
from saddlepoint.bench import judge, rounds
from saddlepoint.bench.nets import Match, match

COMMAND = "python benchmarks/peers.py tests/reference/cases tests/reference/peers.json"
PACKAGES = (
    "foolbox", "torchattacks", "adversarial-robustness-toolbox", "adv-lib", "torch", "torchvision", "numpy", "scipy", "numba"
)  # fmt: skip


def measure(match: Match, row: Row, library: str, limit: float) -> dict[str, Any]:
    """Run one library on one row; whatever it raises is its result."""
    spec = row.calls[library]

    def how(_: nn.Module, found: Tensor) -> dict[str, Any]:
        return judge(match.net, match.x, match.y, found, norm=row.norm, radius=row.radius, goal=row.goal)

    try:
        run = rounds.library(library, spec, row.goal)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}", "parameters": str(spec)}
    return rounds.once(run, match, how, SEED, limit) | {"parameters": str(spec)}


def chosen(name: str, wanted: list[str]) -> list[str]:
    """The keys of a case's rows that are wanted, all by default."""
    rows = table(name)
    return [key for want in wanted for key in rows if want in (key, key.split()[0])] if wanted else list(rows)


def save(path: Path, case: str, key: str, entry: dict[str, Any]) -> None:
    """Put one row into the report; the others stay as they are."""
    cases = json.loads(path.read_text())["cases"] if path.exists() else {}
    cases.setdefault(case, {"rows": {}})["rows"][key] = entry
    report = {
        "machine-independent": ["success", "median", "forwards", "backwards"],
        "command": COMMAND,
        "notes": NOTES,
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES if list(importlib.metadata.distributions(name=p))},
        "cases": {
            name: {"rows": {k: cases[name]["rows"][k] for k in table(name) if k in cases[name]["rows"]}}
            for name in CASES
            if name in cases
        },
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Measure the named rows, or all, and save each in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path, help="folder of NAME.safetensors")
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", action="append", choices=CASES, help="all by default")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds of CPU time for one library on one row")
    parser.add_argument("rows", nargs="*")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    names = options.case or list(CASES)
    if unknown := [row for row in options.rows if not any(chosen(name, [row]) for name in names)]:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are: {', '.join(table(names[0]))}")
    for name in names:
        for key in chosen(name, options.rows):
            row = table(name)[key]
            results = {}
            for library in sorted(row.calls):
                results[library] = measure(match(name, row.n, options.cases), row, library, options.limit)
                print(name, key, library, results[library], flush=True)
            entry = {"n": row.n, "radius": row.radius, "budget": row.budget, "libraries": results}
            save(options.out, name, key, entry)


if __name__ == "__main__":
    main()
