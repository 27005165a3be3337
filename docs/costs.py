"""What the pages say of cost: agreement with AutoAttack at a tenth of its passes, growth, and faster copies."""

import json
import math
from pathlib import Path
from typing import Any

from saddlepoint.bench import CASES
from saddlepoint.bench.rounds import FLOOR

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
        "| network | threat | images | AutoAttack leaves | Express leaves, seed by seed | its share of the passes "
        "| broken by AutoAttack only | by Express only |",
        "|---|---|---|---|---|---|---|---|",
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
            cells = [f"`{net}`", threat, str(row["images"]), left["AutoAttack"], left["Express"], share, *alone]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"The images are the first of each test split. {made(found)}"])


def spent(run: dict[str, Any]) -> float:
    """Passes of a run, forward and backward, an example."""
    return float(run["forwards"] + run["backwards"])


def profiles() -> str:
    """Shares of an attack's time."""
    found = report("profiles")
    if found is None:
        return "Not measured yet: `python benchmarks/profiles.py benchmarks/profiles.json`."
    parts = [part for part in next(iter(found["rows"].values())) if part not in ("network", "images")]
    lines = [f"| case | network | images | {' | '.join(parts)} |", "|---" * (3 + len(parts)) + "|"]
    for name, row in found["rows"].items():
        cells = [f"`{name}`", row["network"], str(row["images"]), *(f"{row[part]:.0%}" for part in parts)]
        lines.append(f"| {' | '.join(cells)} |")
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
    head = (
        "| | network | rows a batch | ours beside the loop by hand | beside it in our layout | the latter in each process |"
    )
    lines += ["", head, "|---|---|---|---|---|---|"]
    for kind, row in found["loops"].items():
        each = " ".join(f"{ratio:.2f}" for ratio in row["each_laid_out"])
        lines.append(f"| {kind} | {row['network']} | {row['batch']} | {row['ratio']:.3f} | {row['laid_out']:.3f} | {each} |")
    return "\n".join([*lines, "", made(found)])


WHY = {
    "apgd-t-10": "what is saved is what a pass of six rows costs above one of fifty",
    "square-10": "a pass of few images makes 97 small operations besides the network's, a third of the time",
    "square-robust-10": "a pass of few images makes 97 small operations besides the network's, a third of the time",
    "autoattack-digits": "an image that the first stage leaves is searched toward nine classes in 100 steps each",
    "one-pixel-evolution": "the queries are the same by design",
    "universal": "five of our forward passes are the look at all images after each pass of the second half",
    "spatial-digits": "two of them are the look at the clean image and the re-check",
}
"""What is to be said of a bar that does not hold, by case, beside its counts and its profile."""


def few(count: float) -> str:
    """A number of passes in a few digits."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def share(name: str) -> float:
    """The network's share of our time in a case."""
    profiled = (report("profiles") or {"rows": {}})["rows"].get(name, {"forward": math.nan, "backward": math.nan})
    return float(profiled["forward"] + profiled["backward"])


def at_best(name: str, kind: str, found: float) -> str:
    """What a ratio of times would be if all that is not the network took no time."""
    bound = {"times": found / share(name), "floor": found * share(name)}.get(kind)
    return "-" if bound is None else f"{bound:.3g}"


def by_hand(entry: dict[str, Any]) -> str:
    """What the loop by hand takes, where there is one."""
    floor = entry["results"].get(FLOOR)
    return f"a loop by hand takes {floor['ratio']} times ours" if floor else ""


def reason(name: str, entry: dict[str, Any], rival: str) -> str:
    """The passes an example of both sides, the network's share of our time, and what else there is to say."""
    own, other = entry["results"]["saddlepoint"], entry["results"][rival]
    passes = " against ".join(f"{few(one['forwards'])} forward and {few(one['backwards'])} backward" for one in (own, other))
    said = "".join(f"; {words}" for words in (by_hand(entry), WHY.get(name)) if words)
    return f"{passes} passes; the network has {share(name):.0%} of the time{said}"


def missed() -> str:
    """The bars that do not hold, with what was found and the reason."""
    found = report("bench")
    if found is None:
        return "Not measured yet: `make bench`."
    lines = ["| case | asked | found | at best | why |", "|---|---|---|---|---|"]
    for name, entry in found["cases"].items():
        kinds = {str(bar): bar.kind for bar in CASES[name].bars}
        bars = [bar for bar in entry["bars"] if bar["holds"] is False]
        if bars:
            asks, values = (" and ".join(str(bar[key]) for bar in bars) for key in ("asks", "found"))
            bounds = " and ".join(at_best(name, kinds[bar["asks"]], bar["found"]) for bar in bars)
            lines.append(f"| `{name}` | {asks} | {values} | {bounds} | {reason(name, entry, bars[0]['rival'])} |")
    held = sum(bar["holds"] is True for entry in found["cases"].values() for bar in entry["bars"])
    total = sum(len(entry["bars"]) for entry in found["cases"].values())
    return "\n".join([f"{held} of {total} bars hold.", "", *lines])
