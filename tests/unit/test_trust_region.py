"""The step of Brendel and Bethge against a slow solver, and SparseFool's linear problem."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from saddlepoint.core.noise import Noise
from saddlepoint.ops import norms, trust_region

NORMS = {"l2": norms.l2, "l1": norms.l1, "linf": norms.linf, "l0": norms.l0}
convex = pytest.mark.parametrize("name", ["l2", "l1", "linf"])
each = pytest.mark.parametrize("name", NORMS)


def problems(n, d, dtype=torch.float64, seed=0):
    """Boxes, changes inside them (many on a face or at zero), normals, gaps and radii."""
    noise = Noise(seed, torch.arange(n))
    low, high = -noise.uniform(d, dtype=dtype), noise.uniform(d, dtype=dtype)
    at, place = low + (high - low) * noise.uniform(d, dtype=dtype), noise.uniform(d)
    at = torch.where(place < 0.2, low, torch.where(place > 0.8, high, torch.where((place > 0.5) & (place < 0.65), 0, at)))
    gap, radius = 0.3 * noise.normal(1, dtype=dtype)[:, 0], 0.05 + 0.8 * noise.uniform(1, dtype=dtype)[:, 0]
    return at, noise.normal(d, dtype=dtype), gap, radius, low, high


def step(name, problem):
    return getattr(trust_region, f"nearest_{name}")(*problem)


def reference(name, at, b, gap, radius, low, high):
    """How far from the boundary one row (d,) must stay, and the smallest norm on it, by SLSQP; None if there is none.

    L1 and Linf are made smooth by slack variables behind the change.
    """
    d, options = len(at), {"maxiter": 1000, "ftol": 1e-13}
    region = {"type": "ineq", "fun": lambda v: radius**2 - ((v[:d] - at) ** 2).sum()}
    box = list(zip(low, high, strict=True))
    near = minimize(
        lambda v: (b @ (v - at) - gap) ** 2, at, constraints=[region], bounds=box, method="SLSQP", options=options
    )
    short = abs(b @ (near.x - at) - gap)
    if short > 1e-4:
        return short, None
    on = {"type": "eq", "fun": lambda v: b @ (v[:d] - at) - gap}
    slack = {"type": "ineq", "fun": lambda v: np.concatenate([v[d:] - v[:d], v[d:] + v[:d]])}
    first = {"l2": near.x, "l1": np.r_[near.x, abs(near.x)], "linf": np.r_[near.x, abs(near.x).max()]}[name]
    objective = (lambda v: v @ v) if name == "l2" else (lambda v: v[d:].sum())
    found = minimize(
        objective,
        first,
        constraints=[region, on] + ([] if name == "l2" else [slack]),
        bounds=box + [(0, None)] * (len(first) - d),
        method="SLSQP",
        options=options,
    )
    return 0.0, (found.fun**0.5 if name == "l2" else found.fun) if found.success else None


@convex
def test_as_good_as_a_slow_solver(name):
    problem = problems(16, 6)
    at, b, gap, radius, low, high = problem
    z = step(name, problem)
    off = ((b * (z - at)).sum(1) - gap).abs()
    assert ((z >= low) & (z <= high)).all()
    assert ((z - at).norm(dim=1) <= radius * (1 + 1e-6)).all()
    solved = 0
    for i in range(len(at)):
        short, best = reference(name, *(t[i].numpy() for t in problem))
        assert float(off[i]) <= short + 1e-4
        if best is not None and off[i] < 1e-9:
            solved += 1
            assert float(NORMS[name](z)[i]) <= best + 1e-6
    assert solved > 6


@each
def test_the_largest_radius_leaves_a_linear_program(name):
    at, b, gap, _, low, high = problems(30, 6, seed=1)
    z = step(name, (at, b, gap, torch.full_like(gap, 100.0), low, high))
    level = (b * at).sum(1) + gap
    for i in range(len(at)):
        if name == "l0":
            best = fewest(b[i], level[i], low[i], high[i])
            if best is not None:
                assert float(norms.l0(z)[i]) <= best + 1
            continue
        if name == "l2":
            continue  # no linear program
        slack = np.hstack([np.eye(6), -np.eye(6) if name == "l1" else -np.ones((6, 1))])
        cost = np.r_[np.zeros(6), np.ones(slack.shape[1] - 6)]
        found = linprog(
            cost,
            A_ub=np.vstack([slack, slack * np.r_[-np.ones(6), np.ones(slack.shape[1] - 6)]]),
            b_ub=np.zeros(12),
            A_eq=np.r_[b[i], np.zeros(slack.shape[1] - 6)][None],
            b_eq=[float(level[i])],
            bounds=list(zip(low[i].tolist(), high[i].tolist(), strict=True)) + [(0, None)] * (slack.shape[1] - 6),
        )
        if found.success:
            assert float(NORMS[name](z)[i]) == pytest.approx(found.fun, abs=1e-6)


def fewest(b, level, low, high):
    """The smallest number of features that reach the level, by trying all sets; None where all together do not."""
    least, most = torch.minimum(b * low, b * high), torch.maximum(b * low, b * high)
    for count in range(len(b) + 1):
        for chosen in combinations(range(len(b)), count):
            index = list(chosen)
            if least[index].sum() <= level <= most[index].sum():
                return count
    return None


@each
def test_the_step_is_admissible(name):
    for dtype, slack in ((torch.float64, 1e-7), (torch.float32, 1e-5)):
        problem = problems(64, 200, dtype, seed=2)
        at, b, gap, radius, low, high = problem
        z = step(name, problem)
        assert z.dtype is dtype
        assert ((z >= low - slack) & (z <= high + slack)).all()
        assert ((z - at).norm(dim=1) <= radius + slack).all()
        assert (((b * (z - at)).sum(1) - gap).abs() < 30 * slack).all(), "200 features reach every one of these boundaries"


@each
def test_rows_do_not_depend_on_one_another(name):
    problem = problems(9, 30, seed=3)
    whole = step(name, problem)
    for i in range(9):
        assert torch.allclose(whole[i : i + 1], step(name, tuple(t[i : i + 1] for t in problem)), rtol=0, atol=1e-6)


@each
def test_without_a_normal_it_stays_in_the_trust_region(name):
    at, b, gap, radius, low, high = problems(5, 12, seed=4)
    z = step(name, (at, 0 * b, gap, radius, low, high))
    assert z.isfinite().all()
    assert ((z - at).norm(dim=1) <= radius * (1 + 1e-6)).all()


def test_l0_restores_all_channels_of_a_pixel():
    noise = Noise(5, torch.arange(8))
    at = 0.3 * (noise.uniform(3, 4, 4, dtype=torch.float64) - 0.5)
    b, one = noise.normal(3, 4, 4, dtype=torch.float64), torch.ones(8, dtype=torch.float64)
    z = trust_region.nearest_l0(at, b, 0 * one, one, torch.full_like(at, -0.5), torch.full_like(at, 0.5))
    changed = (z != 0).flatten(2).any(1).sum(1)
    assert (changed < 16).all()
    assert torch.equal(norms.l0(z), changed.double())


def test_fill_takes_the_first_entries_whole():
    share = trust_region.fill(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[5.0, 2.0, 4.0]]), torch.tensor([4.0]))
    assert torch.allclose(share, torch.tensor([[0.0, 1.0, 0.5]]))
