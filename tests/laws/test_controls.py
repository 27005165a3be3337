"""The laws catch what is broken on purpose, and nothing else."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from saddlepoint.core.attack import Attack
from saddlepoint.core.errors import SaddlepointError
from saddlepoint.testing import laws

spec = importlib.util.spec_from_file_location("controls", Path(__file__).with_name("controls.py"))
assert spec is not None
assert spec.loader is not None
controls: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(controls)


def broken_laws(attack: Attack) -> list[str]:
    found = []
    for law in laws(attack):
        try:
            law()
        except (AssertionError, SaddlepointError, RuntimeError):
            found.append(law.name)
    return found


def test_a_sound_attack_passes() -> None:
    assert broken_laws(controls.Sound()) == []


@pytest.mark.parametrize("control", controls.BROKEN, ids=lambda c: c.__name__)
def test_control_is_caught(control: type[Attack]) -> None:
    expected = {
        "NoProjection": "finds",
        "WrongSign": "finds",
        "GlobalGenerator": "reproducible",
        "MutatesInput": "stays_inside",
        "LeavesGradients": "leaves_no_trace",
        "CouplesTheBatch": "batch_invariant",
        "CheatsOnAccess": "finds",
        "AsksBehindTheGame": "counts_queries",
        "ReadsTheScale": "logit_shift_and_scale",
        "Underestimates": "bounds_its_passes",
        "SpeaksAnotherLanguage": "speaks_the_language",
    }[control.__name__]
    assert expected in broken_laws(control())
