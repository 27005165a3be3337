"""The pair search against looking at every pair."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.ops import search
from saddlepoint.ops.search import best_pair

INFEASIBLE = float("-inf")


def score(alpha, beta, p, q):
    a, b = float(alpha[p] + alpha[q]), float(beta[p] + beta[q])
    return -a * b if a > 0 and b < 0 else INFEASIBLE


def brute_force(alpha, beta, allowed):
    """The best score over all pairs of allowed features of one row."""
    features = [i for i in range(len(alpha)) if allowed[i]]
    return max((score(alpha, beta, p, q) for p, q in combinations(features, 2)), default=INFEASIBLE)


def agree(alpha, beta, allowed):
    """Every row: a pair exists exactly when one is feasible, and then no other scores more."""
    p, q, exists = best_pair(alpha, beta, allowed)
    assert p.shape == q.shape == exists.shape == (len(alpha),)
    for row in range(len(alpha)):
        best = brute_force(alpha[row], beta[row], allowed[row])
        assert bool(exists[row]) == (best > INFEASIBLE), (alpha[row], beta[row], allowed[row])
        if exists[row]:
            i, j = int(p[row]), int(q[row])
            assert i != j
            assert allowed[row, i]
            assert allowed[row, j]
            assert score(alpha[row], beta[row], i, j) == best, (alpha[row], beta[row], allowed[row])


@pytest.mark.parametrize("features", [1, 2, 3, 4, 7, 20])
def test_random_rows(features):
    generator = torch.Generator().manual_seed(features)
    alpha, beta = torch.randn(2, 200, features, dtype=torch.float64, generator=generator)
    agree(alpha, beta, torch.ones(200, features, dtype=torch.bool))
    agree(alpha, beta, torch.rand(200, features, generator=generator) < 0.6)


@pytest.mark.parametrize("features", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("spread", [1, 2, 3])
def test_rows_full_of_ties(features, spread):
    generator = torch.Generator().manual_seed(10 * features + spread)
    alpha, beta = torch.randint(-spread, spread + 1, (2, 400, features), generator=generator).double()
    agree(alpha, beta, torch.rand(400, features, generator=generator) < 0.7)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 6))
def test_integers(data, features):
    def row(values):
        return torch.tensor([data.draw(st.lists(values, min_size=features, max_size=features))])

    agree(row(st.integers(-4, 4)).double(), row(st.integers(-4, 4)).double(), row(st.booleans()))


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        ([-1.0, -2.0, -3.0], [-1.0, -1.0, -1.0]),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]),
        ([5.0], [-5.0]),
    ],
    ids=["alpha below zero", "beta above zero", "all zero", "sum exactly zero", "one feature"],
)
def test_no_pair_is_feasible(alpha, beta):
    rows = torch.tensor([alpha, alpha])
    assert not best_pair(rows, torch.tensor([beta, beta]), torch.ones_like(rows, dtype=torch.bool))[2].any()


def test_fewer_than_two_allowed_features_make_no_pair():
    alpha, beta = torch.ones(2, 4), -torch.ones(2, 4)
    allowed = torch.tensor([[False] * 4, [False, True, False, False]])
    assert best_pair(alpha, beta, allowed)[2].tolist() == [False, False]


def test_one_feature_may_have_the_wrong_sign():
    p, q, exists = best_pair(torch.tensor([[9.0, -1.0, 0.1]]), torch.tensor([[1.0, -9.0, -0.1]]), torch.ones(1, 3).bool())
    assert exists.all()
    assert {int(p), int(q)} == {0, 1}


def test_parts_of_a_batch_do_not_matter(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    alpha, beta = torch.randn(2, 30, 12, generator=generator)
    allowed = torch.rand(30, 12, generator=generator) < 0.8
    whole = best_pair(alpha, beta, allowed)
    monkeypatch.setattr(search, "PAIRS_AT_ONCE", 1)
    assert all(torch.equal(a, b) for a, b in zip(whole, best_pair(alpha, beta, allowed), strict=True))


def test_an_empty_batch():
    p, q, exists = best_pair(torch.zeros(0, 5), torch.zeros(0, 5), torch.zeros(0, 5, dtype=torch.bool))
    assert len(p) == len(q) == len(exists) == 0


@pytest.mark.parametrize(
    "margin", [lambda t: 1 - 3 * t, lambda t: 1 - 4 * t**3, lambda t: (0.2 - t) * (5 if t < 0.2 else 1)]
)
def test_draw_in_nears_the_change_of_sign_from_beyond(margin):
    asked = []

    def ask(points, where):
        assert where.all()
        asked.append(float(points))
        return torch.tensor([margin(float(points))], dtype=torch.float64)

    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    ends = (torch.tensor([margin(t)], dtype=torch.float64) for t in (0.0, 1.0))
    search.draw_in(ask, zero, one, *ends, 6)
    nearest = max(margin(t) for t in asked if margin(t) < 0)
    assert -0.01 < nearest < 0
    assert len(asked) <= 6


def test_draw_in_does_not_ask_of_rows_without_a_change_of_sign():
    above, below = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([2.0, -1.0, -1e-6])
    search.draw_in(lambda *_: pytest.fail("asked"), torch.zeros(3, 1), torch.ones(3, 1), above, below, 3)
