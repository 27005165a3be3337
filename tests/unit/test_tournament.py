"""The knockout among the classes: its plan, whom it aims at, and where its searches start."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.attacks.gradient.tournament import corner, gaps, rivals
from saddlepoint.core.game import Game
from saddlepoint.core.noise import Noise
from saddlepoint.testing.oracles import Wavy

A = sp.attacks


def test_each_round_keeps_half_of_the_classes_and_doubles_the_steps():
    assert A.Tournament(targets=9, steps=8).rounds(9) == [(9, 8), (4, 16), (2, 32), (1, 64)]
    assert A.Tournament(targets=9, steps=8).rounds(2) == [(2, 8), (2, 16), (2, 32), (1, 64)]
    assert A.Tournament(targets=1, steps=5).rounds(9) == [(1, 5)]


@pytest.mark.parametrize("goal", [sp.Untargeted, sp.Targeted])
def test_passes_are_what_a_row_that_stands_costs_and_a_tenth_of_autoattack_is_more(goal):
    model = Wavy(classes=10)
    x, y = model.inputs(4)
    attack, threat = A.Tournament(), "linf:0.00001"
    target = y if goal is sp.Untargeted else (y + 1) % 10
    result = sp.attack(model, x, goal(target), threat, attack)
    searches = 17 if goal is sp.Untargeted else 5
    stands = result.rows(sp.Outcome.NOT_FOUND)
    assert stands.sum() >= 3
    assert (
        (result.queries - result.gradients)[stands] == searches + 1
    ).all()  # the clean look, and the last point of each search
    forwards, backwards = attack.passes(16, 10)
    assert result.gradients.max() <= backwards
    assert 10 * (forwards + backwards) < sum(A.AutoAttack().passes(16, 10))


class Decoy(torch.nn.Module):
    """The second class is always near and never reached; the third is last in the clean logits, and wins on the far side."""

    def forward(self, x):
        s = x.flatten(1).mean(1)
        return torch.stack([0 * s, 0 * s - 0.1, 20 * s - 11, 0 * s - 0.3], dim=1)


def test_a_wide_first_round_finds_what_the_margin_hides():
    x, y = torch.full((20, 1, 4, 4), 0.3), torch.zeros(20, dtype=torch.int64)
    narrow, wide = (
        sp.attack(Decoy(), x, y, "linf:0.3", A.Tournament(targets=n, steps=8)).success_rate.value for n in (1, 3)
    )
    assert narrow < 0.5
    assert wide == 1


def test_it_aims_neither_at_the_label_nor_at_the_refusal():
    logits = torch.tensor([[3.0, 1.0, 2.0, 4.0], [3.0, 1.0, 2.0, 2.5]])
    y = torch.tensor([0, 0])
    assert torch.equal(gaps(sp.Untargeted(y, rejection=3), logits)[:, 1:3], torch.tensor([[3.0, 2.0], [2.0, 1.0]]))
    assert gaps(sp.Untargeted(y, rejection=3), logits)[:, [0, 3]].isinf().all()
    assert rivals(sp.Untargeted(y, rejection=3), 4) == 2
    assert rivals(sp.Untargeted(y), 4) == 3
    goal = sp.Targeted(torch.tensor([2, 2]))
    assert gaps(goal, logits).shape == (2, 1)
    assert rivals(goal, 1) == 1
    for goal in (sp.Untargeted(y), sp.Untargeted(y, rejection=3)):
        assert torch.equal(gaps(goal, logits).amin(1), goal.margin(logits))


@pytest.mark.parametrize("shape", [(16,), (5, 7), (1, 8, 8), (3, 9, 4)])
@pytest.mark.parametrize("threat", [sp.Linf(0.3), sp.L2(1.0)])
def test_a_search_starts_as_far_out_as_the_ball_goes_and_coarse(shape, threat):
    x = torch.full((6, *shape), 0.5)
    model = sp.TorchModel(torch.nn.Flatten())
    game = Game(model, x, sp.Untargeted(torch.zeros(6, dtype=torch.int64)), threat, noise=Noise(0, torch.arange(6)))
    start = corner(game, 0)
    assert torch.allclose(threat.size(x, x + start), torch.full((6,), threat.eps), atol=1e-5)
    assert start.shape == x.shape
    borders = (start.diff(dim=-1) != 0).reshape(-1, shape[-1] - 1).any(0).sum()
    assert borders < 2  # of two parts
    assert len(start.sign().flatten(1).unique(dim=0)) > 1  # rows draw for themselves
