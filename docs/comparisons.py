"""The comparisons on the attacks' pages: ours beside the public libraries, from the committed figures alone."""

import json
import re
from pathlib import Path
from typing import Any

from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.core.registry import registry

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "tests" / "reference"
PACKAGES = {"art": "adversarial-robustness-toolbox", "autoattack": "pyautoattack"}  # where the package has another name


def built_in() -> dict[str, type[Attack]]:
    """The attacks of this library, without plug-ins that happen to be installed."""
    found = registry("attack").classes
    return {name: found[name] for name in registry("attack").names() if found[name].__module__.startswith("saddlepoint.")}


def call(config: Any, prefix: str = "sp.attacks.") -> str:
    """Plain data of an attack as the Python that makes it, without what is the default anyway."""
    if isinstance(config, dict) and "name" in config:
        default = to_config(registry("attack").get(config["name"])())
        settings = {k: v for k, v in config.items() if v != default[k]}
        return f"{prefix}{config['name']}({', '.join(f'{k}={call(v, prefix)}' for k, v in settings.items())})"
    if isinstance(config, list):
        return f"({', '.join(call(v, prefix) for v in config)}{',' if len(config) == 1 else ''})"
    return json.dumps(config) if isinstance(config, str) else repr(config)


def results(name: str) -> str:
    """What the attack reached beside the public libraries on three nets, with the commands that measured it."""
    ours, peers = (json.loads((FIGURES / file).read_text()) for file in ("ours.json", "peers.json"))
    found = {key: nets for key, nets in comparisons(ours, peers).items() if owner(nets, ours) == name}
    if not found:
        return ""
    sources = [ours] + (
        [peers] if any(row in rows_of(peers, net) for nets in found.values() for net, row in nets.items()) else []
    )
    made = [f"`{source['command']}` (torch {source['versions']['torch']})" for source in sources]
    return "\n\n".join(
        [
            "## Beside the public libraries",
            "Three small networks with the same layers and 200 images each, the same for all (`tests/reference/cases`): "
            "MNIST, Fashion-MNIST, and Fashion-MNIST with adversarial training at linf:0.1. All examples are answered right "
            "when clean. A cell holds the success rate, the median size and the forwards. The median counts a failure as "
            "infinite. Forwards are the rows that the model was asked about, an example; ours include the look at the clean "
            "input and the final re-check.",
            *[table(key, nets, ours, peers) for key, nets in found.items()],
            f"Made by {' and '.join(made)}.",
        ]
    )


def beside_scipy() -> str:
    """What is lost, and what is saved, by L-BFGS over a batch."""
    report = json.loads((ROOT / "benchmarks" / "lbfgs.json").read_text())
    lines = ["| net | goal | median l2, batch | forwards | median l2, SciPy | forwards |", "|---|---|---|---|---|---|"]
    for net, goals in report["rows"].items():
        for goal, row in goals.items():
            cells = [f"{row[who]['median']:.4g} | {row[who]['forwards']:,.0f}" for who in ("LBFGS", "scipy")]
            lines.append(f"| {net} | {goal} | {' | '.join(cells)} |")
    return "\n".join(
        [
            "## Beside SciPy, row by row",
            "",
            f"SciPy's L-BFGS-B for one example after the other, with as many searches, on {report['n']} images a net.",
            "",
            *lines,
            "",
            f"Made by `{report['command']}` (torch {report['versions']['torch']}, scipy {report['versions']['scipy']}).",
        ]
    )


def rows_of(source: dict[str, Any], net: str) -> dict[str, Any]:
    """The rows that were measured on a net."""
    rows: dict[str, Any] = source["cases"].get(net, {"rows": {}})["rows"]
    return rows


def comparisons(ours: dict[str, Any], peers: dict[str, Any]) -> dict[tuple[str, int], dict[str, str]]:
    """What is compared -> net -> row; rows that differ in the radius alone are one where they are of different nets."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for net in dict.fromkeys([*peers["cases"], *ours["cases"]]):
        for row in dict.fromkeys([*rows_of(peers, net), *rows_of(ours, net)]):
            title = re.sub(r" (l\w+):[\d.]+$", r" \1", row)
            index = sum(net in nets for (other, _), nets in found.items() if other == title)
            found.setdefault((title, index), {})[net] = row
    return found


def owner(nets: dict[str, str], ours: dict[str, Any]) -> str:
    """The attack that rows of figures are about."""
    for net, row in nets.items():
        if row in rows_of(ours, net):
            return str(rows_of(ours, net)[row]["attack"]["name"])
    title = next(iter(nets.values()))
    return next((name for name in built_in() if name in re.split(r"[ -]", title)[:1]), "")


def table(key: tuple[str, int], nets: dict[str, str], ours: dict[str, Any], peers: dict[str, Any]) -> str:
    """One comparison as a table, a line a library and a column a net; below it the budget, the settings, the errors."""
    theirs = {net: rows_of(peers, net)[row] for net, row in nets.items() if row in rows_of(peers, net)}
    own = {net: rows_of(ours, net)[row] for net, row in nets.items() if row in rows_of(ours, net)}
    heads = [f"{net}, {row.split(' ', 1)[1]}, {(own | theirs)[net]['n']} images" for net, row in nets.items()]
    lines = [f"**{key[0]}**", "", "| library | " + " | ".join(heads) + " |", "|---|" + "---|" * len(nets)]
    cells = [figures(own.get(net)) for net in nets]
    lines.append(f"| **saddlepoint {ours['versions']['saddlepoint']}** | {' | '.join(cells)} |")
    settings = [f"saddlepoint `{call(next(iter(own.values()))['attack'], '')}`"] if own else []
    errors: dict[str, list[str]] = {}
    for library in dict.fromkeys(library for entry in theirs.values() for library in entry["libraries"]):
        package = library.split(" (")[0]
        version = peers["versions"].get(PACKAGES.get(package, package), "")
        found = {net: entry["libraries"][library] for net, entry in theirs.items() if library in entry["libraries"]}
        lines.append(f"| {library} {version} | {' | '.join(figures(found.get(net)) for net in nets)} |")
        settings.append(f"{library} `{next(iter(found.values()))['parameters']}`")
        for net, result in found.items():
            if "error" in result:
                errors.setdefault(f"{library}: {' '.join(result['error'].split())}", []).append(net)
    first = next(iter(nets))
    notes = [f"Budget on {next(iter(theirs))}: {next(iter(theirs.values()))['budget']}."] if theirs else []
    notes += [f"Settings on {first}: {'; '.join(settings)}."] if settings else []
    notes += [f"No result on {' and '.join(on)}, from {error.rstrip('.')}." for error, on in errors.items()]
    return "\n".join(lines) + "".join(f"\n\n{note}" for note in notes)


def figures(found: dict[str, Any] | None) -> str:
    """Success rate, median size and forward passes, as one cell."""
    if found is None:
        return "not measured"
    if "success" not in found:
        return "no result"
    unknown = "∞" if found["success"] <= 0.5 else "—"  # half or more failed, and a failure counts as infinite
    median = unknown if found["median"] is None else f"{found['median']:.4g}"
    return f"{found['success']:.1%}, {median}, {found['forwards']:,.1f}"


def equal_queries(name: str) -> str:
    """What the attack reached beside the libraries with as many queries, as means over seeds."""
    report = json.loads((ROOT / "benchmarks" / "queries.json").read_text())
    found = [(key.split(" / "), row) for key, row in report["rows"].items() if owner_of(row) == name]
    if not found:
        return ""
    lines = ["| | net | library | its success, median, queries | ours |", "|---|---|---|---|---|"]
    settings: dict[str, str] = {}
    own = {key: value for key, value in found[0][1]["ours"]["attack"].items() if key != "steps"}
    for (what, net, library), row in found:
        settings.setdefault(f"{what}, {library}", f"{net}: `{row['parameters']}`")
        lines.append(f"| {what} | {net} | {library} | {spent(row['theirs'])} | {spent(row['ours'])} |")
    return "\n\n".join(
        [
            "## At equal queries",
            f"Means over three seeds, {report['n']} images a net. Ours may ask as often as the library: what it would spend "
            "on an image that withstands, or where nobody stops early, what it spent on average.",
            "\n".join(lines),
            "Settings: " + "; ".join(f"{who} on {how}" for who, how in settings.items()) + ". "
            f"Ours, but for the number of steps: `{call(own)}`.",
            f"Made by `{report['command']}` (torch {report['versions']['torch']}).",
        ]
    )


def owner_of(row: dict[str, Any]) -> str:
    """The attack of ours that a row is about."""
    return str(row["ours"]["attack"]["name"]) if "ours" in row else ""


def spent(found: dict[str, Any]) -> str:
    """Success rate, median size and queries, as one cell."""
    median = "—" if found["median"] is None else f"{found['median']:.4g}"
    return f"{found['success']:.1%}, {median}, {found['queries']:,.0f}"
