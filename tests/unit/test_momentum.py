"""What the family of momentum has of its own: each ingredient, and that without them it is BIM."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import interpolate

import saddlepoint as sp
from saddlepoint.attacks.gradient.bim import BIM
from saddlepoint.attacks.gradient.momentum import DIFGSM, MIFGSM, NIFGSM, SIFGSM, TIFGSM, resample
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.game import Stop
from saddlepoint.testing.oracles import Oracle, Wavy

IMAGE = (3, 12, 10)


def played(attack, shape=(1, 4, 4), **how):
    model = Wavy(shape)
    x, y = model.inputs(5)
    return sp.attack(model, x, y, "linf:0.1", attack, stop=Stop.NEVER, **how)


class Tilted(Oracle):
    """Linear in two features whose slopes are given for each step: what an attack saw is in `seen`."""

    def __init__(self, slopes):
        super().__init__((2,), 2)
        self.slopes, self.seen = slopes, []

    def answer(self, x):
        if x.requires_grad:
            self.seen.append(x.detach().clone())
        slope = torch.tensor(self.slopes[min(len(self.seen), len(self.slopes)) - 1])
        side = 100 - ((x - 0.5) * slope).sum(1, keepdim=True)
        return torch.cat([side, -side], dim=1)


def end(attack, slopes):
    model = Tilted(slopes)
    x = torch.full((1, 2), 0.5)
    sp.attack(model, x, torch.zeros(1).long(), "linf:0.1", attack)
    return model.seen


@pytest.mark.parametrize("attack", [MIFGSM, NIFGSM])
def test_without_memory_it_is_bim_bit_for_bit(attack):
    mine = played(attack(steps=8, step_size=1 / 255, decay=0))
    theirs = played(BIM(steps=8))
    assert torch.equal(mine.x_adv, theirs.x_adv)
    assert torch.equal(mine.queries, theirs.queries)
    assert torch.equal(mine.x_adv, played(PGD(steps=8, step_size=1 / 255, random_start=False)).x_adv)


def test_the_sum_is_of_gradients_of_equal_size():
    # A hundredfold gradient counts once: (1, 0) + (1, 3) / 4 + (0, 3) / 3 = (1.25, 1.75), so the third step raises both.
    seen = end(MIFGSM(steps=4), [(100.0, 0.0), (1.0, 3.0), (0.0, 3.0), (0.0, 0.0)])
    steps = [(b - a).div(0.025).round()[0].tolist() for a, b in pairwise(seen)]
    assert steps == [[1, 0], [1, 1], [1, 1]]


def test_decay_forgets():
    seen = end(MIFGSM(steps=3, decay=0.5), [(1.0, 0.0), (-2.0, 0.0), (0.0, 0.0)])
    assert (seen[2] < seen[1])[0, 0]  # 0.5 * 1 - 1 is below zero


def test_the_gradient_is_taken_where_the_sum_leads():
    seen = end(NIFGSM(steps=4), [(1.0, -1.0)])
    ahead = [((at - 0.5) / 0.025).round()[0].tolist() for at in seen]
    assert ahead == [[0, 0], [2, -2], [4, -4], [4, -4]]  # k steps made and k ahead, up to the edge


def test_scaled_copies_are_asked_and_counted():
    model = Tilted([(1.0, 1.0)])
    x = torch.full((1, 2), 0.5)
    result = sp.attack(model, x, torch.zeros(1).long(), "linf:0.1", SIFGSM(steps=1, scales=3))
    assert [at[0, 0].item() for at in model.seen] == [0.5, 0.25, 0.125]
    assert result.gradients.item() == 3
    assert result.queries.item() == 5


def test_copies_darken_toward_zero_or_the_bound_nearest_to_it():
    class Bright(Tilted):
        bounds = (1.0, 2.0)

    model = Bright([(1.0, 1.0)])
    sp.attack(model, torch.full((1, 2), 1.5), torch.zeros(1).long(), "linf:0.1", SIFGSM(steps=1, scales=2))
    assert [at[0, 0].item() for at in model.seen] == [1.5, 1.25]


def test_shrinking_is_bilinear_and_pads():
    image = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    half, at = torch.tensor([0.5]), torch.tensor([1.0])
    weights = resample(20, half, at)
    small = torch.einsum("bih,bchw,bjw->bcij", weights, image, weights)
    inner = interpolate(image, size=(10, 10), mode="bilinear")
    assert torch.allclose(small[..., 10:, 10:], inner, atol=1e-6)
    assert not small[..., :9, :].any()
    assert not small[..., :, :9].any()


def test_nothing_shrinks_by_nothing():
    assert torch.allclose(resample(9, torch.ones(1), torch.rand(1)), torch.eye(9), atol=1e-6)


def test_rows_are_shrunk_by_chance_and_each_for_itself():
    class Watched(Wavy):
        def logits(self, x):
            if x.requires_grad:
                self.seen = x.detach().clone()
            return super().logits(x)

    model = Watched(IMAGE)
    x, y = (column[:1].expand(64, *column.shape[1:]) for column in model.inputs(1))
    sp.attack(model, x, y, "linf:0.1", DIFGSM(steps=1))
    kept = (model.seen == x).flatten(1).all(1)
    assert 16 < kept.sum() < 48
    assert len(model.seen[~kept].unique(dim=0)) == (~kept).sum()
    sp.attack(model, x, y, "linf:0.1", DIFGSM(steps=1, diversity=1.0))
    assert not (model.seen == x).flatten(1).all(1).any()


def test_smoothing_is_a_normalized_bell_for_each_channel():
    point = torch.zeros(1, 3, 15, 15)
    point[0, 1, 7, 7] = 1
    bell = TIFGSM(kernel=7).smooth(point)
    assert not bell[0, [0, 2]].any()
    assert torch.isclose(bell.sum(), torch.tensor(1.0))
    assert torch.allclose(bell, bell.transpose(2, 3))
    assert torch.allclose(bell, bell.flip(2))
    assert torch.isclose(bell[0, 1, 7, 10] / bell[0, 1, 7, 7], torch.tensor(-4.5).exp())
    assert not bell[0, 1, 7, 11:].any()


@pytest.mark.parametrize("shape", [(16,), (4, 4)])
def test_what_is_no_image_is_neither_shrunk_nor_smoothed(shape):
    plain = played(MIFGSM(), shape)
    for attack in (DIFGSM(), TIFGSM()):
        assert torch.equal(played(attack, shape).x_adv, plain.x_adv)


def test_ingredients_combine():
    all_on = SIFGSM(steps=2, look_ahead=True, diversity=0.5, kernel=3)
    assert all_on.passes(1, 2) == (12, 10)
    assert not torch.equal(played(all_on, IMAGE).x_adv, played(SIFGSM(steps=2), IMAGE).x_adv)


def test_a_kernel_has_a_center():
    with pytest.raises(ConfigError, match="odd"):
        TIFGSM(kernel=4)
