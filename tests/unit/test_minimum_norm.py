"""What the laws do not say of the minimum-norm attacks and of APGD in L1."""

import pytest
import torch

from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.gradient.pace import Halving, Sparse
from saddlepoint.attacks.minimum_norm.alma import ALMA, lagrangian, lagrangian_slope
from saddlepoint.attacks.minimum_norm.fmn import FMN
from saddlepoint.attacks.minimum_norm.sigma_zero import SigmaZero
from saddlepoint.core.play import attack as play
from saddlepoint.ops import projections
from saddlepoint.testing.oracles import HalfSpace, Wavy
from saddlepoint.threats import L0, L1, Linf


@pytest.mark.parametrize("onto", [projections.onto_linf, projections.onto_l2, projections.onto_l1, projections.onto_l0])
def test_a_radius_a_row_is_the_same_as_each_row_alone(onto):
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(6, 3, 4, 4, generator=generator)
    x = torch.rand(6, 3, 4, 4, generator=generator)
    radii = torch.tensor([0.0, 1.0, 2.0, 7.0, 16.0, torch.inf])
    together = onto(delta, radii, -x, 1 - x)
    alone = [onto(delta[i : i + 1], float(r), -x[i : i + 1], 1 - x[i : i + 1]) for i, r in enumerate(radii)]
    assert torch.allclose(together, torch.cat(alone), rtol=0, atol=1e-6)
    assert onto(delta[:0], radii[:0], -x[:0], 1 - x[:0]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("attack", [FMN(), SigmaZero()], ids=["FMN", "SigmaZero"])
def test_a_colored_pixel_counts_once(attack):
    model = Wavy((3, 4, 4))
    x, y = model.inputs(6)
    result = play(model, x, y, L0.unbounded(), attack)
    changed = result.x_adv != x
    assert torch.equal(result.size, changed.any(dim=1).flatten(1).sum(1).float())
    assert (changed.flatten(1).sum(1) > result.size).all(), "a pixel that may change should change in all its channels"


def test_fmn_does_not_depend_on_the_unit_of_the_input():
    model = HalfSpace(classes=2)
    x = model.inputs(4, 0.02, norm=Linf)
    wide = HalfSpace(classes=2)
    wide.bounds = (0.0, 256.0)
    narrow = wide.answer
    wide.answer = lambda z: narrow(z / 256)
    y = torch.zeros(4, dtype=torch.int64)
    small, large = play(model, x, y, "linf", FMN()), play(wide, x * 256, y, "linf", FMN())
    assert torch.allclose(small.size * 256, large.size, rtol=1e-3)


def test_the_slope_of_the_lagrangian_is_its_derivative():
    y = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    penalty, multiplier = torch.full_like(y, 1.7).detach(), torch.full_like(y, 0.6).detach()
    (slope,) = torch.autograd.grad(lagrangian(y, penalty, multiplier).sum(), y)
    assert torch.allclose(slope, lagrangian_slope(y.detach(), penalty, multiplier))


def test_checkpoints_of_apgd():
    assert sorted(Halving(0.75).checkpoints(100))[:8] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(Sparse().checkpoints(40)) == list(range(1, 40))


@pytest.mark.parametrize("steps", [1, 3, 10, 100])
def test_l1_radii_shrink_and_the_last_is_the_one_that_counts(steps):
    phases = Sparse().phases(L1(2.0), steps)
    assert sum(share for _, share in phases) == steps
    assert phases[-1][0] == L1(2.0)
    assert [ball.eps for ball, _ in phases] == ([6.0, 4.0, 2.0] if steps > 3 else [2.0])


def test_l1_apgd_works_toward_classes_within_its_budget():
    model = Wavy()
    x, y = model.inputs(6)
    result = play(model, x, y, L1(1e-6), APGD(steps=20, targets=2))
    forwards, backwards = APGD(steps=20, targets=2).passes(16, 3)
    assert (result.queries <= forwards + 1).all()
    assert (result.gradients == backwards).all()


def test_the_memory_of_alma_follows_its_steps():
    assert [round(ALMA(steps=k).past, 2) for k in (1, 10, 100, 1000)] == [0.5, 0.5, 0.68, 0.9]
    assert ALMA(steps=1000, smoothing=0.5).past == 0.5
