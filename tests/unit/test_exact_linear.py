"""Linear models, whose worst case is known: the exact adversary against linear programs, FGSM against the formula."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.nn.functional import cross_entropy, softplus

import saddlepoint as sp
from saddlepoint.attacks.minimum_norm.exact_linear import ExactLinear
from saddlepoint.core.result import Outcome

D = 12


def softmax_regression(classes, seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Linear(D, classes).double()
    x = torch.rand(6, D, dtype=torch.float64)
    x[0, ::2] = 0  # some features on the bounds
    return net, x, net(x).argmax(1)


def smallest_linf(net, x, targets):
    """Size of the smallest change of x (d,) in the box with which a target beats all it must, by linear programs."""
    w, b = net.weight.detach().numpy(), net.bias.detach().numpy()
    found = []
    for beaten in targets:
        rows = np.array([[*(w[loser] - w[winner]), 0] for winner, loser in beaten])
        missing = [(w[winner] - w[loser]) @ x + b[winner] - b[loser] for winner, loser in beaten]
        limits = np.block([[np.eye(D), -np.ones((D, 1))], [-np.eye(D), -np.ones((D, 1))]])
        box = [*zip(-x, 1 - x, strict=True), (0, None)]
        solved = linprog(np.r_[np.zeros(D), 1], np.r_[rows, limits], np.r_[missing, np.zeros(2 * D)], bounds=box)
        found.append(solved.fun if solved.success else np.inf)
    return min(found)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_untargeted_is_the_optimum_within_the_bounds(classes):
    net, x, y = softmax_regression(classes)
    result = sp.attack(sp.TorchModel(net), x, y, "linf", ExactLinear())
    for row in range(len(x)):
        wrong = [k for k in range(classes) if k != y[row]]
        best = smallest_linf(net, x[row].numpy(), [[(k, int(y[row]))] for k in wrong])
        assert float(result.size[row]) == pytest.approx(best, rel=1e-6)
    assert result.backwards == (classes - 1) * len(x)


def test_targeted_among_several_is_an_upper_bound_and_exact_where_one_boundary_decides():
    ratios = []
    for seed in range(4):
        net, x, y = softmax_regression(4, seed)
        target = (y + 1) % 4
        result = sp.attack(sp.TorchModel(net), x, sp.Targeted(target), "linf", ExactLinear())
        for row in range(len(x)):
            t = int(target[row])
            best = smallest_linf(net, x[row].numpy(), [[(t, k) for k in range(4) if k != t]])
            ratios.append(float(result.size[row]) / best if np.isfinite(best) else 1.0)
    ratios = np.array(ratios)
    assert (ratios >= 1 - 1e-9).all()
    assert (ratios < 1.7).all()
    assert (ratios < 1 + 1e-6).mean() > 0.3


def test_it_is_no_attack_on_models_that_are_not_linear():
    net = torch.nn.Sequential(torch.nn.Linear(D, 30), torch.nn.Tanh(), torch.nn.Linear(30, 2)).double()
    with torch.no_grad():
        net[0].weight *= 20
    x = torch.rand(20, D, dtype=torch.float64)
    result = sp.attack(sp.TorchModel(net), x, net(x).argmax(1), "l2", ExactLinear())
    missed = result.rows(Outcome.NOT_FOUND)
    assert missed.any()
    assert (result.queries[missed] == 3).all()  # the clean input twice and one try: no overshoot would prove anything


def test_fgsm_is_the_worst_case_of_logistic_regression():
    net, x, y = softmax_regression(2)
    with torch.no_grad():
        net.weight[0], net.bias[0] = 0, 0  # logits 0 and w x + b
    x = 0.2 + 0.6 * torch.rand(20, D, dtype=torch.float64)  # away from the bounds, which the formula does not know
    y, w, eps = net(x).argmax(1), net.weight[1].detach(), 0.05
    result = sp.attack(sp.TorchModel(net), x, y, sp.Linf(eps), sp.attacks.FGSM())
    margin = (2 * y - 1) * net(x)[:, 1].detach()
    worst = softplus(-(margin - eps * w.abs().sum()))
    torch.testing.assert_close(cross_entropy(net(result.x_adv).detach(), y, reduction="none"), worst)
    found = result.rows(Outcome.FOUND)
    assert torch.equal(found, margin < eps * w.abs().sum())
    assert found.any()
    assert not found.all()
