"""The variants of PGD and of its special cases."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.attacks.gradient.bim import BIM
from saddlepoint.attacks.gradient.fgsm import FGSM
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.game import Stop
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import maximize
from saddlepoint.testing.oracles import HalfSpace, Wavy


def margins(attack, scale=1.0):
    model = HalfSpace(classes=2, scale=scale)
    x = model.inputs(4, 0.05)
    result = sp.attack(model, x, torch.zeros(4).long(), "linf:0.3", attack, stop=Stop.NEVER)
    logits = model.answer(result.x_adv).detach()
    return logits[:, 0] - logits[:, 1]


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_confidence_is_where_the_push_ends_in_the_models_own_logits(scale):
    free, held = (
        margins(PGD(loss="margin", step_size=0.01, random_start=False, confidence=confidence), scale)
        for confidence in (None, 1.0 * scale)
    )
    step = 0.01 * 2 * HalfSpace(classes=2).weight.abs().sum() * scale
    assert (free < -4 * scale).all()
    assert (held < -1.0 * scale).all()
    assert (held > -1.0 * scale - step).all()


def test_confidence_out_of_reach_is_no_confidence():
    never, far = (margins(PGD(loss="margin", random_start=False, confidence=confidence)) for confidence in (None, 1e6))
    assert torch.equal(never, far)


def test_confidence_needs_the_margin():
    with pytest.raises(ConfigError, match='loss="margin"'):
        PGD(confidence=50)


def test_confidence_trains():
    model = HalfSpace(classes=2)
    x, goal = model.inputs(3, 0.05), sp.Untargeted(torch.zeros(3).long())
    attack = PGD(loss="margin", confidence=50)
    assert maximize(model, x, goal, sp.Linf(0.1), attack, Noise(0, torch.arange(3))).shape == x.shape


@pytest.mark.parametrize(("levels", "steps"), [(2, 3), (4, 5), (8, 10), (16, 20), (64, 68)])
def test_bim_counts_its_steps_by_kurakins_rule(levels, steps):
    model = HalfSpace(classes=2)
    x = model.inputs(1, 0.45)
    result = sp.attack(model, x, torch.zeros(1).long(), f"linf:{levels}/255", BIM(), stop=Stop.NEVER)
    assert result.gradients.item() == steps


@pytest.mark.parametrize("attack", [FGSM(loss="cross_entropy"), FGSM(loss="margin"), FGSM(loss="dlr"), BIM(), PGD()])
def test_least_likely_is_fixed_by_the_clean_input(attack):
    model = Wavy(classes=5)
    x, _ = model.inputs(6)
    target = model.answer(x).argmin(1)
    given, named = (sp.attack(model, x, goal, "linf:0.2", attack) for goal in (sp.LeastLikely(), sp.Targeted(target)))
    assert torch.equal(given.x_adv, named.x_adv)
    assert torch.equal(given.outcome, named.outcome)
