"""The committed audits of the gallery, its variations and the honest networks say what an audit should.

`python benchmarks/trust.py benchmarks/trust.json` measures them again; tests/unit/test_trust.py plays small ones.
"""

import json
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parents[2] / "benchmarks" / "trust.json").read_text())["rows"]
HONEST = {name: row for name, row in ROWS.items() if name.startswith("honest/")}
MASKED = {name: row for name, row in ROWS.items() if name not in HONEST}
TOLERATED = 0.02
FURTHER: dict[str, str] = {}
"""Where the audit stays more than two points above the attack written by hand, and why."""


def test_there_are_enough_of_them() -> None:
    assert len(MASKED) >= 24
    assert len(HONEST) >= 12


@pytest.mark.parametrize("name", HONEST)
def test_no_false_alarm(name: str) -> None:
    assert HONEST[name]["state"] == "trusted"
    assert not HONEST[name]["failed"]


@pytest.mark.parametrize("name", MASKED)
def test_caught_by_its_own_indicator(name: str) -> None:
    row = MASKED[name]
    assert row["caught_by"], row["failed"]
    assert row["state"] in ("repaired", "not trusted")


@pytest.mark.parametrize("name", [name for name, row in MASKED.items() if row["adaptive"]])
def test_as_low_as_the_attack_by_hand(name: str) -> None:
    row = MASKED[name]
    further = row["state"] != "repaired" or row["left"]["value"] > row["adaptive"]["value"] + TOLERATED + 1e-9
    assert further == (name in FURTHER), row["sentence"]


@pytest.mark.parametrize("name", ROWS)
def test_the_checks_cost_less_than_a_quarter(name: str) -> None:
    passes = ROWS[name]["passes"]
    assert passes["checks"] < 0.25 * passes["attacks"] or ROWS[name]["state"] == "not trusted"
