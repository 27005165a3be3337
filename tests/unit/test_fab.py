"""What FAB promises beyond the laws: its price, its starts, and that it serves as a part of a cascade."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.attacks.ensemble.cascade import Cascade
from saddlepoint.attacks.ensemble.restarts import Restarts
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.attacks.minimum_norm.fab import FAB
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.noise import Noise
from saddlepoint.core.result import Outcome
from saddlepoint.testing.oracles import Wavy

X, Y = Wavy().inputs(8)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_more_targets_and_more_starts_never_lose(norm):
    single = sp.attack(Wavy(), X, Y, norm, FAB(targets=1, steps=20))
    both = sp.attack(Wavy(), X, Y, norm, FAB(targets=2, steps=20))
    assert (both.size <= single.size * (1 + 1e-3)).all()
    assert both.size.isfinite().all()
    once = FAB(targets=2, steps=20, random_start=True)
    again = sp.attack(Wavy(), X, Y, norm, Restarts(attack=once, restarts=3))
    assert (again.size <= sp.attack(Wavy(), X, Y, norm, once).size).all()


def test_a_step_costs_one_forward_pass_and_one_gradient_a_class():
    result = sp.attack(Wavy(), X, Y, "linf", FAB(steps=10, bisections=0))
    assert (result.queries == 10 + 2).all()
    assert (result.gradients == 10 * 2).all()
    result = sp.attack(Wavy(), X, Y, "linf", FAB(steps=10, targets=9, bisections=0))
    assert (result.queries == 2 * (10 + 1) + 1).all()
    assert (result.gradients == 2 * 10).all()


def test_random_starts_lie_half_way_to_the_radius_or_to_the_nearest_win():
    attack = FAB(random_start=True)
    game = Game(Wavy(), X, sp.Untargeted(Y), sp.Linf(0.1), noise=Noise(0, torch.arange(8)))
    game._enter(attack)
    assert torch.allclose(game.threat.size(X, X + attack.begin(game)), torch.full((8,), 0.05), atol=1e-6)
    game.live.best = X + 0.02
    assert torch.allclose(game.threat.size(X, X + attack.begin(game)), torch.full((8,), 0.01), atol=1e-6)
    game = Game(Wavy(), X, sp.Untargeted(Y), sp.Linf(float("inf")), noise=Noise(0, torch.arange(8)))
    game._enter(attack)
    assert not attack.begin(game).any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_as_a_part_of_a_cascade_it_breaks_what_it_breaks_alone_and_rows_leave_at_once(norm):
    alone = sp.attack(Wavy(), X, Y, norm, FAB(targets=2, steps=30))
    eps = float(alone.size.median()) * 1.001  # one row is drawn in to it at the very end
    weak = PGD(steps=1, step_size=1e-6, random_start=False)
    result = sp.attack(Wavy(), X, Y, f"{norm}:{eps}", Cascade(attacks=(weak, FAB(targets=2, steps=30))))
    within = alone.size <= eps
    assert torch.equal(result.rows(Outcome.FOUND), within)
    assert (result.size[within] <= eps * (1 + 1e-5)).all()
    assert result.queries[within].float().median() < 10
    assert result.queries[~within].min() > 60
    stopped = sp.attack(Wavy(), X, Y, f"{norm}:{eps}", FAB(targets=2, steps=30), stop=Stop.FIRST_WIN)
    assert torch.equal(stopped.rows(Outcome.FOUND), within)
    assert (stopped.queries[within] <= alone.queries[within]).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_walk_does_not_rest_on_a_tie(norm):
    net = torch.nn.Linear(4, 2)
    net.weight.data, net.bias.data = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]), torch.zeros(2)
    x, y = torch.full((1, 4), 0.25), torch.tensor([0])
    model = sp.TorchModel(net, bounds=(-1, 1))
    exactly_on_it = sp.attack(model, x, y, norm, FAB(steps=3, overshoot=0.0))
    assert exactly_on_it.success_rate.value == 1
    assert float(exactly_on_it.size) == pytest.approx({"linf": 0.25, "l2": 0.5, "l1": 1.0}[norm], rel=1e-3)
