"""Results in words."""

from typing import Any

from saddlepoint.bench.case import Case

COLUMNS = ("library", "success", "median", "forwards", "backwards", "CPU s", "times ours", "rounds")
MARKS = {True: "holds", False: "MISSED", None: "not measured"}


def lines(entry: dict[str, Any]) -> list[list[str]]:
    """A line a side; passes are rows an example, and a median is infinite where half or more failed."""
    found = []
    for label, row in entry["results"].items():
        if "error" in row:
            found.append([label, *[""] * (len(COLUMNS) - 2), row["error"]])
            continue
        median = "" if entry["asked"]["norm"] is None else "∞" if row["median"] is None else f"{row['median']:.4g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cost = [f"{row['forwards']:,.1f}", f"{row['backwards']:,.1f}", f"{row['seconds']:.3g}", ratio]
        rounds = f"{row['rounds']}, then: {row['note']}" if "note" in row else str(row["rounds"])
        found.append([label, f"{row['success']:.1%}", median, *cost, rounds])
    return found


def verdicts(entry: dict[str, Any]) -> list[str]:
    """A sentence a bar."""
    found = []
    for bar in entry["bars"]:
        beside = f" ({bar['rival']})" if bar["rival"] and bar["rival"] not in bar["asks"] else ""
        value = "" if bar["found"] is None else f": {bar['found']:.3g}{beside}"
        found.append(f"bar {bar['number']}: {bar['asks']}{value}: {MARKS[bar['holds']]}")
    return found


def markdown(case: Case, entry: dict[str, Any] | None) -> str:
    """One case as a section of a page."""
    about = case.about[:1].upper() + case.about[1:]
    head = f"### {case.name}\n\n{about}, on `{case.net}`, {case.n} examples. Budget: {case.budget}."
    if entry is None:
        return f"{head}\n\nNot measured yet: `saddlepoint bench {case.name}`."
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *lines(entry)]
    rows[2][0] = f"**{rows[2][0]}**"
    table = "\n".join(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows)
    bars = "\n".join(f"- {sentence[:1].upper()}{sentence[1:]}." for sentence in verdicts(entry))
    return f"{head}\n\n{table}\n\n{bars}"
