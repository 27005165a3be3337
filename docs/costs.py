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
    lines += ["", "| | network | rows a batch | ours beside the loop by hand |", "|---|---|---|---|"]
    for kind, row in found["loops"].items():
        lines.append(f"| {kind} | {row['network']} | {row['batch']} | {row['ratio']:.3f} |")
    return "\n".join([*lines, "", made(found)])


WHY = {
    "pgd-digits": "23 forward and 21 backward passes against 40 and 40, and a pass of few rows costs more a row",
    "pgd-digits-0.3": "6.1 forward and 4.1 backward passes against 40 and 40, the last of them of few rows: at most 8.4 "
    "times less if a backward pass is worth two forward ones",
    "pgd-robust": "it is the loop written by hand that ART is not further away from",
    "pgd-floor": "43 forward passes against 40, and every iterate judged and the best kept: see where the time goes",
    "apgd-t-100": "the passes are as many, and nearly nine tenths of the time; the rest keeps the best point of every row",
    "apgd-t-10": "the passes are as many; what is saved is what a pass of six rows costs above one of fifty",
    "square-100": "as many queries, and seven tenths of the time are the network's",
    "square-10": "more passes (708 against 463) at a lower price; the network, small as it is, has six tenths of the time",
    "square-robust-10": "as for ten digits: more passes at a lower price",
    "autoattack-digits": "with two of three seeds one image withstands the first stage and is searched toward nine classes "
    "in 100 steps each; torchattacks takes 10",
    "autoattack-fashion-robust": "nearly all passes are Square's, on the rows that stand to the end, and both have as many",
    "cw-9x1000": "20 images; of 200 the median is within 0.2 % (the attack's page)",
    "jsma": "13 forward and 22 backward passes against 88 and 203; the search for pairs has a quarter of the time",
    "jsma-pairs": "36 forward and 68 backward passes against 68 and 335; the network has two thirds of the time",
    "fmn": "the projection is exact, where the loop by hand scales and clips; the median is DDN's but for 0.02 %",
    "one-pixel-evolution": "the queries are the same by design, and they are all there is",
    "hop-skip-jump": "the queries are the same but for half a percent, and the network has four fifths of the time",
    "boundary-10": "5040 queries against 5570, and the network has most of the time",
    "boundary-30": "5040 queries against 5580, and the network has most of the time",
    "universal": "24 forward and 10 backward passes against 93 and 421; the rest of ART's time is one image at a time",
    "spatial-digits": "3.5 forward passes, two of them the look at the clean image and the re-check, against 12",
    "training": "it is as fast as the loop by hand, from which ART's trainer is not further away",
    "training-free": "4 forward and 4 backward passes an image against 10 and 8",
}
"""Why a bar does not hold, by case: a count or a profile."""


def missed() -> str:
    """The bars that do not hold, with what was found and the reason."""
    found = report("bench")
    if found is None:
        return "Not measured yet: `make bench`."
    lines = ["| case | asked | found | why |", "|---|---|---|---|"]
    for name, entry in found["cases"].items():
        bars = [bar for bar in entry["bars"] if bar["holds"] is False]
        if bars:
            asks, values = (" and ".join(str(bar[key]) for bar in bars) for key in ("asks", "found"))
            lines.append(f"| `{name}` | {asks} | {values} | {WHY[name]} |")
    held = sum(bar["holds"] is True for entry in found["cases"].values() for bar in entry["bars"])
    total = sum(len(entry["bars"]) for entry in found["cases"].values())
    return "\n".join([f"{held} of {total} bars hold.", "", *lines])
