"""Each attack is as strong as the best public library on the same net, the same images, the same budget.

What is compared are the committed figures (`make papers` and `make peers` measure them again); a few cheap rows are played
here, to see that the figures are those of this code. The tolerances are what luck does: two examples in 200 for success
(other random starts move it by one or two), one percent for a median, three for the decision-based walks, whose medians
over 20 examples move by that much from seed to seed.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from saddlepoint.core.play import as_threat

spec = importlib.util.spec_from_file_location("cases", Path(__file__).with_name("cases.py"))
assert spec is not None
assert spec.loader is not None
cases: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)


OURS = {case: found["rows"] for case, found in json.loads(cases.HERE.joinpath("ours.json").read_text())["cases"].items()}
SHARED = [(case, row) for case, rows in cases.ROWS.items() for row in rows if row in cases.peers(case)]
LUCK = "one random start; the best of four libraries is the luckiest of four, and from seed to seed each moves as much"
WEAKER: dict[tuple[str, str], str] = {
    ("fashion", "PGD linf:0.03"): LUCK,
    ("fashion", "PGD l2:0.5"): LUCK,
    ("fashion-robust", "PGD l2:1.5"): LUCK,
    (
        "fashion-robust",
        "APGD-DLR l2:1.5",
    ): "48 to 51.5 % over five seeds, as the two libraries that follow the authors' code; "
    "only ART, whose steps are of another kind, reaches 53 %",
}
"""Where ours is below the best library by more than the tolerance, and why."""


def weaker(case: str, row: str) -> str:
    """What our committed figures lack to the best library; nothing if they lack nothing."""
    ours, (success, median) = OURS[case][row], cases.best(case, row)
    if ours["success"] < success - 0.01:
        return f"{ours['success']} below {success}"
    luck = 1.03 if row.startswith("HopSkipJump") else 1.01
    smallest = median < float("inf") and cases.ROWS[case][row][1] in ("l2", "linf", "l1", "l0")
    if smallest and (ours["median"] is None or ours["median"] > median * luck):
        return f"{ours['median']} above {median}"
    return ""


@pytest.mark.parametrize(("case", "row"), SHARED)
def test_no_weaker_than_the_best_peer(case: str, row: str) -> None:
    assert bool(weaker(case, row)) == ((case, row) in WEAKER), weaker(case, row) or "no longer an exception"


PASSES = {
    "PGD linf:0.3": (5, 5),
    "CarliniWagner l2": (250, 250),
    "JSMA l0": (25, 50),
    "DeepFool l2": (10, 45),
}
"""Forwards and backwards an example, at most; the look at the clean input and the final re-check are among them."""


@pytest.mark.parametrize(("case", "row"), [(case, row) for case, rows in OURS.items() for row in PASSES if row in rows])
def test_passes_an_example(case: str, row: str) -> None:
    found = OURS[case][row]
    assert found["forwards"] <= PASSES[row][0]
    assert found["backwards"] <= PASSES[row][1]


@pytest.mark.parametrize("case", OURS)
def test_what_minimum_norm_attacks_owe(case: str) -> None:
    rows = OURS[case]
    assert rows["FMN l2"]["median"] <= rows["DDN l2"]["median"]
    for row in ("CarliniWagner l2", "CarliniWagner linf", "CarliniWagner l0", "DeepFool l2", "DeepFool linf"):
        assert rows[row]["success"] == 1, row


@pytest.mark.parametrize("row", ["BIM linf:0.1", "DeepFool l2", "DeepFool linf", "JSMA l0"])
def test_the_figures_are_those_of_this_code(row: str) -> None:
    now, then = cases.measure("digits", row), OURS["digits"][row]
    assert now["attack"] == then["attack"]
    assert now["success"] == pytest.approx(then["success"], abs=0.011)
    assert now["median"] == pytest.approx(then["median"], rel=0.01)


@pytest.mark.parametrize(("case", "row"), SHARED)
def test_the_peers_had_as_many_examples_and_the_same_radius(case: str, row: str) -> None:
    _, threat, n = cases.ROWS[case][row]
    theirs = cases.peers(case)[row]
    assert theirs["n"] == n
    assert theirs["radius"] in (None, as_threat(threat).reach)


def test_every_attack_has_a_row() -> None:
    from saddlepoint.core.attack import Attack
    from saddlepoint.core.model import Access
    from saddlepoint.core.registry import registry

    played = {type(attack) for rows in cases.ROWS.values() for attack, _, _ in rows.values()}
    assert {cls.__name__ for cls in played if issubclass(cls, Attack)} == {
        name
        for name, cls in registry("attack").classes.items()
        if cls.__module__.startswith("saddlepoint.") and cls.access is not Access.NONE  # learned: see benchmarks
    }
