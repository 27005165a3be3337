"""The standard ensemble works for any number of classes and is no weaker than its parts."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.testing.oracles import Wavy

A = sp.attacks


@pytest.mark.parametrize("classes", [2, 3, 5, 9, 10, 100])
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_any_number_of_classes(classes, version):
    model = Wavy(classes=classes)
    x, y = model.inputs(8)
    attack = A.AutoAttack(version=version, steps=10, queries=30)
    result = sp.attack(model, x, y, "linf:0.12", attack)
    assert not result.rows(sp.Outcome.ESCAPED, sp.Outcome.NONFINITE).any()
    assert result.rows(sp.Outcome.FOUND).any()
    parts = [sp.attack(model, x, y, "linf:0.12", part).rows(sp.Outcome.FOUND) for part in attack.cascade.attacks]
    assert (result.rows(sp.Outcome.FOUND) | ~torch.stack(parts).any(0)).all()


def test_rows_leave_inside_a_stage():
    model = Wavy()
    x, y = model.inputs(30)
    attack = A.AutoAttack(steps=20, queries=50)
    result = sp.attack(model, x, y, "linf:0.3", attack)
    won = result.rows(sp.Outcome.FOUND)
    assert won.sum() > 20
    assert result.queries[won].float().mean() < 20  # less than one stage


def test_the_l1_ball_ends_with_square_too():
    model = Wavy()
    x, y = model.inputs(6)
    attack = A.AutoAttack(steps=20, queries=50)
    result = sp.attack(model, x, y, "l1:1.5", attack)
    assert [type(a).__name__ for a in attack.cascade.attacks] == ["APGD", "APGD", "FAB", "Square"]
    assert all(issubclass(sp.L1, a.threats) for a in attack.cascade.attacks)
    assert result.rows(sp.Outcome.FOUND).any()
    lost = result.rows(sp.Outcome.NOT_FOUND)
    assert (result.queries[lost] > 50).all()  # Square had its turn
