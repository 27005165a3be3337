"""What the pages say of cost: agreement with AutoAttack at a tenth of its passes, growth, and faster copies."""

import json
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def report(name: str) -> dict[str, Any] | None:
    """A committed report, None where there is none yet."""
    path = BENCHMARKS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def made(found: dict[str, Any]) -> str:
    """The last line below a table."""
    machine = f", {found['machine']['cpu']}, one thread" if "machine" in found else ""
    return f"Made by `{found['command']}` (torch {found['versions']['torch']}{machine})."


def accelerated() -> str:
    """CPU time and strength of each means, beside the network as it is."""
    found = report("accelerated")
    if found is None:
        return "Not measured yet: `python benchmarks/accelerated.py benchmarks/accelerated.json`."
    nets = found["nets"]
    heads = [f"{name}, {row['threat']}: time | broken of {row['n']}" for name, row in nets.items()]
    lines = ["| means | " + " | ".join(heads) + " |", "|---" * (1 + 2 * len(nets)) + "|"]
    for label in next(iter(nets.values())):
        if label not in ("n", "threat"):
            cells = [f"{row[label]['time']:.2f} | {row[label]['broken']}" for row in nets.values()]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", made(found)])


def agreement() -> str:
    """Express beside AutoAttack: who stands, at what share of the passes, and who is broken by one alone."""
    found = report("cascade")
    if found is None:
        return "Not measured yet: `python benchmarks/cascade.py benchmarks/cascade.json`."
    lines = [
        "| network | threat | AutoAttack leaves | Express leaves, seed by seed | its share of the passes "
        "| broken by AutoAttack only | by Express only |",
        "|---|---|---|---|---|---|---|",
    ]
    for net, threats in found["nets"].items():
        for threat, row in threats.items():
            runs = {
                label: [run for seed, run in row[label].items() if seed != "attack"]
                for label in ("AutoAttack", "Express")
                if label in row
            }
            if len(runs) < 2:
                continue
            passes = {label: sum(map(spent, of)) / len(of) for label, of in runs.items()}
            left = {label: ", ".join(str(run["robust"]) for run in of) for label, of in runs.items()}
            alone = [
                ", ".join(str(len(one[f"broken_by_{label}_only"])) for one in row["disagreements"].values())
                for label in runs
            ]
            share = f"{passes['Express'] / passes['AutoAttack']:.1%}"
            cells = [f"`{net}`", threat, left["AutoAttack"], left["Express"], share, *alone]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Of {found['images']}. {made(found)}"])


def spent(run: dict[str, Any]) -> float:
    """Passes of a run, forward and backward, an example."""
    return float(run["forwards"] + run["backwards"])


def profiles() -> str:
    """Shares of an attack's time."""
    found = report("profiles")
    if found is None:
        return "Not measured yet: `python benchmarks/profiles.py benchmarks/profiles.json`."
    parts = list(next(iter(found["rows"].values())))
    lines = [f"| attack | network | images | {' | '.join(parts)} |", "|---" * (3 + len(parts)) + "|"]
    for key, row in found["rows"].items():
        lines.append(f"| {' | '.join([*key.split(' / '), *(f'{row[part]:.0%}' for part in parts)])} |")
    return "\n".join([*lines, "", made(found)])


def scale() -> str:
    """How memory and time grow with examples, and time with the rows a batch."""
    found = report("scale")
    if found is None:
        return "Not measured yet: `python benchmarks/scale.py benchmarks/scale.json`."
    kinds = {"attack": "`sp.attack` on arrays in memory", "engine": "an audit's engine on a file"}
    lines = ["| | examples | CPU seconds | microseconds an example | peak memory, MB |", "|---|---|---|---|---|"]
    for key, row in found["examples"].items():
        kind, n = key.split()
        if kind in kinds:
            each = f"{1e6 * row['seconds'] / int(n):.0f}"
            lines.append(f"| {kinds[kind]} | {n} | {row['seconds']:.2f} | {each} | {row['peak_megabytes']:.0f} |")
    start = found["examples"]["start 100"]["peak_megabytes"]
    lines += ["", f"Before the first attack the process has {start:.0f} MB.", ""]
    lines += ["| rows a batch | ours, microseconds an example | by hand | ratio |", "|---|---|---|---|"]
    for batch, row in found["batches"].items():
        lines.append(f"| {batch} | {row['ours']:.0f} | {row['by_hand']:.0f} | {row['ratio']:.2f} |")
    return "\n".join([*lines, "", made(found)])
