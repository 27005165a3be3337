"""Whether the bars hold."""

from typing import Any

from saddlepoint.bench.case import Bar, Case, inf
from saddlepoint.bench.rounds import FLOOR, OURS, Row


def verdicts(case: Case, results: dict[str, Row]) -> list[dict[str, Any]]:
    """Each bar of a case: what is asked, what was found, and whether it holds; None where a side of it has no result."""
    found = []
    for bar in case.bars:
        value, rival = reached(case, bar, results)
        holds = None if value is None else value >= bar.factor if bar.at_least else value <= bar.factor
        found.append({"number": bar.number, "asks": str(bar), "found": value, "rival": rival, "holds": holds})
    return found


def reached(case: Case, bar: Bar, results: dict[str, Row]) -> tuple[float | None, str | None]:
    """The figure that a bar is about, and beside whom; None where there is none."""
    own = results[OURS]
    rivals = {label: row for label, row in results.items() if label not in (OURS, FLOOR) and "error" not in row}
    if "error" in own:
        return None, None
    if bar.kind == "floor":
        floor = results.get(FLOOR, {}).get("ratio")
        return (round(1 / floor, 3) if floor else None), FLOOR
    if bar.against is not None:
        rivals = {label: row for label, row in rivals.items() if label == bar.against}
    elif bar.kind == "times":
        rivals = strong(case, rivals)
    if not rivals:
        return None, bar.against
    if bar.kind == "times":
        label = min(rivals, key=lambda name: rivals[name]["ratio"])
        return rivals[label]["ratio"], label
    if bar.kind == "success":
        label = max(rivals, key=lambda name: rivals[name]["success"])
        return round(own["success"] - rivals[label]["success"], 4), label
    key = bar.kind
    label = min(rivals, key=lambda name: size(rivals[name][key]))
    return (None if not size(rivals[label][key]) else round(size(own[key]) / size(rivals[label][key]), 4)), label


def strong(case: Case, rivals: dict[str, Row]) -> dict[str, Row]:
    """Those within 2 points of the best success and, where the nearest is sought, 2 % of the smallest median."""
    success = max((row["success"] for row in rivals.values()), default=0.0) - 0.02
    nearest = min((size(row["median"]) for row in rivals.values()), default=inf) * 1.02
    return {
        label: row
        for label, row in rivals.items()
        if row["success"] >= success and (not case.minimum or size(row["median"]) <= nearest)
    }


def size(value: float | None) -> float:
    """A median, infinite where there is none."""
    return inf if value is None else value
