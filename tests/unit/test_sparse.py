"""What the attacks on a few pixels promise beyond the laws."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import saddlepoint as sp
from saddlepoint.attacks.score.sparse_rs import to_front
from saddlepoint.core.noise import Noise
from saddlepoint.testing.oracles import HalfSpace, Wavy
from saddlepoint.theory.reach import Reach, reachable

A = sp.attacks
FOUND = sp.Outcome.FOUND


def changed(result, x):
    """(n,) pixels that differ."""
    return (result.x_adv != x).any(1).flatten(1).sum(1)


def broken_by_one_pixel(model, x, y):
    """(n,) whether any pixel in any corner of the color cube changes the answer, one by one."""
    n, c, h, w = x.shape
    wins = torch.zeros(n, dtype=torch.bool)
    for i, j, color in itertools.product(range(h), range(w), itertools.product((0.0, 1.0), repeat=c)):
        z = x.clone()
        z[:, :, i, j] = torch.tensor(color)
        wins |= model.answer(z).argmax(1) != y
    return wins


@pytest.mark.parametrize("shape", [(1, 12, 10), (2, 9, 7), (3, 8, 8)])
@pytest.mark.parametrize("combine", ["greedy", "sample"])
def test_corner_search_is_exhaustive_for_one_pixel(shape, combine):
    model = HalfSpace(shape, classes=3)
    x = torch.cat([model.inputs(1, float(d), norm=sp.L0) for d in torch.linspace(0.02, 0.3, 20)])
    y = torch.zeros(20).long()
    result = sp.attack(model, x, y, "l0:1", A.CornerSearch(combine=combine))
    expected = broken_by_one_pixel(model, x, y)
    assert 3 < expected.sum() < 17
    assert torch.equal(result.rows(FOUND), expected)
    lost = ~result.rows(FOUND)
    assert (result.queries[lost] == 1 + 2 ** shape[0] * shape[1] * shape[2]).all()


def test_changes_that_change_nothing_are_not_asked_about():
    model = Wavy((1, 16, 16))
    x = torch.zeros(3, 1, 16, 16)
    y = model.answer(x).argmax(1)
    result = sp.attack(model, x, y, "l0:1", A.CornerSearch())
    assert (result.queries <= 1 + 256).all()  # of 512 corners half are the pixel's own color


def test_greedy_is_exact_where_pixels_add_up():
    model = HalfSpace(shape=(1, 4, 4), classes=3)
    x = model.inputs(8, 0.5, norm=sp.L0)
    need = model.pixels_needed(x)
    assert need.max() > 1
    result = sp.attack(model, x, torch.zeros(8).long(), sp.L0(float(need.max())), A.CornerSearch())
    assert result.rows(FOUND).all()
    assert (changed(result, x) <= need).all()


def test_sampling_combines_what_single_pixels_cannot():
    model = Wavy((1, 12, 12))
    x, y = model.inputs(20)
    one, three = (
        sp.attack(model, x, y, f"l0:{k}", A.CornerSearch(combine="sample", samples=200)).rows(FOUND) for k in (1, 3)
    )
    assert (three | ~one).all()
    assert three.sum() > one.sum()


def test_many_channels_are_refused():
    model = Wavy((4, 2, 2))
    x, y = model.inputs(2)
    with pytest.raises(sp.SaddlepointError, match=r"4 channels.*SparseRS"):
        sp.attack(model, x, y, "l0:1", A.CornerSearch())


def test_sparse_rs_halves_the_moved_share_as_in_the_paper():
    attack = A.SparseRS()
    by = [round(0.3 / attack.share(q), 6) for q in (0, 1, 50, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 10_000)]
    assert by == [1, 2, 2, 4, 5, 6, 8, 10, 12, 15, 20, 20]


@pytest.mark.parametrize("k", [1, 5, 15, 16, 99])
def test_sparse_rs_paints_extreme_colors_on_at_most_k_pixels(k):
    model = Wavy((3, 4, 4))
    x, y = model.inputs(8)
    result = sp.attack(model, x, y, sp.L0(k), A.SparseRS(steps=60))
    assert (changed(result, x) <= k).all()
    different = result.x_adv != x
    assert ((result.x_adv[different] == 0) | (result.x_adv[different] == 1)).all()


def test_shuffled_members_stay_the_same_set():
    noise = Noise(0, torch.arange(5))
    members = torch.arange(12).repeat(5, 1)
    front = to_front(noise, members, 4)
    assert torch.equal(front.sort(1).values, members)
    assert len({tuple(row[:4].tolist()) for row in front}) > 1


@pytest.mark.parametrize("change", ["probe", "cyclic"])
def test_local_search_changes_few_pixels_a_round_and_lets_them_rest(change):
    model = Wavy((1, 8, 8))
    x, y = model.inputs(12)
    seen = []
    real = model.logits
    model.logits = lambda z: seen.append(z.clone()) or real(z)
    attack = A.LocalSearch(rounds=3, pixels=2, probes=20, change=change)
    result = sp.attack(model, x[:1], y[:1], "l0", attack)
    assert result.queries[0] <= attack.passes(64, 3)[0] + 1
    asked = torch.cat(seen)
    assert (asked >= 0).all()
    assert (asked <= 1).all()
    distance = (asked != x[:1]).flatten(1).sum(1)
    assert distance.max() <= 3 * 2 + 1  # two a round, and the one that is probed


def test_cyclic_change_comes_in_on_the_other_side():
    model = Wavy((1, 1, 4))
    x = torch.tensor([0.0, 1.0, 0.6, 0.5]).view(1, 1, 1, 4)
    game = sp.core.game.Game(model, x, sp.Untargeted(torch.zeros(1).long()), sp.L0(4), noise=Noise(0, torch.zeros(1).long()))
    moved = A.LocalSearch(change="cyclic").cyclic(game, x.flatten(2))
    assert torch.allclose(moved.flatten(), torch.tensor([0.75, 0.25, 0.65, 0.5]))


class Lines(nn.Module):
    """Class 1 where the first pixel is bright, class 2 where the second is, and class 0 or 3, by the third, otherwise."""

    def forward(self, x):
        a, b, c = x.flatten(1).T
        return torch.stack([0.5 - c, 4 * a - 2, 4 * b - 2, c - 0.5], dim=1)


def test_reach_reports_what_was_reached():
    x = torch.tensor([[0.1, 0.1, 0.2], [0.1, 0.1, 0.9], [0.9, 0.1, 0.2], [0.1, 0.1, 0.4]])
    y = torch.tensor([0, 3, 1, 3])  # the last is wrong when clean
    found = reachable(Lines(), x, y, "l0:1", A.CornerSearch())
    assert found.source.tolist() == [0, 3, 1]
    assert found.reached.tolist() == [[False, True, True, True], [True, True, True, False], [True, False, True, False]]
    assert found.classes.tolist() == [3, 3, 2]
    assert found.histogram.tolist() == [0, 0, 1, 2]
    assert (found.success.count, found.success.n) == (8, 9)
    assert (found.fooled.count, found.fooled.n) == (3, 3)
    assert found.map.tolist() == [[0, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    assert 0.25 < found.confidence < 1
    longer = reachable(Lines(), x, y, "l0:1", A.CornerSearch(), stop=sp.Stop.NEVER)
    assert longer.confidence >= found.confidence
    assert "targeted 88.9%" in str(found)


def test_reach_of_nothing():
    empty = reachable(Lines(), torch.zeros(0, 3), torch.zeros(0).long(), "l0:1", A.CornerSearch())
    assert empty.success.n == 0
    assert np.isnan(empty.confidence)
    none = Reach(np.array([0]), np.full((1, 3), np.nan))
    assert none.success.count == 0
    assert none.classes.tolist() == [0]


def test_square_uses_up_the_l1_ball():
    model = Wavy((1, 10, 10))
    x, y = model.inputs(20)
    result = sp.attack(model, x, y, "l1:4", A.Square(steps=50), stop=sp.Stop.NEVER)
    size = result.size[result.rows(FOUND)]
    assert len(size) > 0
    assert (size <= 4 * (1 + 1e-5)).all()
    assert size.median() > 3.9
