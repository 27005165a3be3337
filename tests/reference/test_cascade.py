"""Express leaves what AutoAttack leaves, for a tenth of its passes (`python benchmarks/cascade.py`).

Networks trained in several ways, 500 images each, in Linf and in L2, three seeds of Express.
"""

import json
from pathlib import Path
from typing import Any

import pytest

REPORT = json.loads((Path(__file__).parents[2] / "benchmarks" / "cascade.json").read_text())
ROWS = {
    (net, threat): row for net, threats in REPORT["nets"].items() for threat, row in threats.items() if row["images"] == 500
}
WEAKER = {
    ("fashion-fgsm", "linf:0.1"), ("fashion-robust", "l2:1.5"), ("fashion-trades", "l2:1"), ("mnist-l2", "l2:1.5"),
    ("mnist-pgd", "linf:0.2"), ("mnist-pgd", "l2:2"),
}  # fmt: skip
"""Where Express leaves more than one example more than AutoAttack: docs/benchmarks.md says what is known of it."""
DEARER = {("fashion-robust", "l2:1.5"), ("mnist-pgd", "l2:2")}
"""Where it takes more than a tenth of the passes: few rows stand, and so few go through all of AutoAttack."""


def runs(row: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [run for seed, run in row[name].items() if seed != "attack"]


@pytest.mark.parametrize("key", ROWS, ids=" ".join)
def test_at_most_one_more_is_left(key: tuple[str, str]) -> None:
    (bar,) = runs(ROWS[key], "AutoAttack")
    found = [run["robust"] for run in runs(ROWS[key], "Express")]
    assert len(found) == 3
    assert (max(found) > bar["robust"] + 1) == (key in WEAKER), found


@pytest.mark.parametrize("key", ROWS, ids=" ".join)
def test_for_a_tenth_of_the_passes(key: tuple[str, str]) -> None:
    (bar,) = runs(ROWS[key], "AutoAttack")
    shares = [
        (run["forwards"] + run["backwards"]) / (bar["forwards"] + bar["backwards"]) for run in runs(ROWS[key], "Express")
    ]
    assert (max(shares) > 0.1) == (key in DEARER), shares


def test_networks_of_several_kinds_in_both_norms() -> None:
    assert len({net for net, _ in ROWS} - {net for net, _ in WEAKER}) >= 4
    assert all(sum(key[0] == net for key in ROWS) == 2 for net, _ in ROWS)
