"""Crossing a hyperplane within a box, against linear programs, root finding and all sets of features."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog

from saddlepoint.ops import hyperplane, norms

NAMES = ("linf", "l2", "l1", "l0")
each = pytest.mark.parametrize("name", NAMES)


def cross(name, weight, gain, low, high):
    return getattr(hyperplane, f"cross_{name}")(weight, gain, low, high)


def reference(name, w, gain, low, high):
    """The norm of the smallest delta (d,) in the box with w @ delta == gain, by other means."""
    d = len(w)
    if name == "l2":  # stationary points are clip(t * w)
        point = lambda t: np.clip(t * w, low, high)  # noqa: E731
        end = np.sign(gain) * 1e4
        return np.linalg.norm(point(brentq(lambda t: w @ point(t) - gain, 0, end, xtol=1e-15, maxiter=500)))
    if name == "l0":
        most = np.where(np.sign(gain) * w > 0, high, low) * w
        for count in range(d + 1):
            if any(abs(most[list(chosen)].sum()) >= abs(gain) - 1e-12 for chosen in combinations(range(d), count)):
                return count
    if name == "l1":  # delta = up - down
        box = [(0, h) for h in high] + [(0, -v) for v in low]
        return linprog(np.ones(2 * d), A_eq=[np.r_[w, -w]], b_eq=[gain], bounds=box).fun
    rows = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
    box = [*zip(low, high, strict=True), (0, None)]
    return linprog(np.r_[np.zeros(d), 1], A_ub=rows, b_ub=np.zeros(2 * d), A_eq=[np.r_[w, 0]], b_eq=[gain], bounds=box).fun


values = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), st.floats(-2, 2).map(lambda v: round(v, 3)))
rooms = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1).map(lambda v: round(v, 3)))


@st.composite
def problems(draw):
    rows, d = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    table = lambda kind: torch.tensor([[draw(kind) for _ in range(d)] for _ in range(rows)], dtype=torch.float64)  # noqa: E731
    share = torch.tensor([draw(st.floats(-0.99, 0.99).map(lambda v: round(v, 3))) for _ in range(rows)], dtype=torch.float64)
    return table(values), -table(rooms), table(rooms), share


@each
@given(problems())
@settings(max_examples=60, deadline=None)
def test_smallest(name, problem):
    weight, low, high, share = problem
    most = torch.where(weight * share[:, None] > 0, weight * high, weight * low).abs().sum(1)
    gain = share * most
    delta = cross(name, weight, gain, low, high)
    assert ((delta >= low) & (delta <= high)).all()
    torch.testing.assert_close((weight * delta).sum(1), gain, rtol=0, atol=1e-9)
    size = getattr(norms, name)(delta)
    for row in range(len(weight)):
        if abs(gain[row]) < 1e-6:  # left to the identity above: what is smallest there is rounding
            continue
        best = reference(name, *(t[row].numpy() for t in (weight, gain, low, high)))
        assert float(size[row]) == pytest.approx(best, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(("name", "dual"), [("linf", norms.l1), ("l2", norms.l2), ("l1", norms.linf)])
def test_without_a_box_it_is_the_gain_over_the_dual_norm(name, dual):
    weight, gain = torch.randn(5, 2, 10, 10, generator=torch.Generator().manual_seed(0)), torch.linspace(-3, 3, 5)
    far = torch.full_like(weight, 1e6)
    delta = cross(name, weight, gain, -far, far)
    torch.testing.assert_close(getattr(norms, name)(delta), gain.abs() / dual(weight), rtol=1e-4, atol=1e-6)


@each
def test_where_the_plane_is_out_of_reach_the_corner_is_returned(name):
    weight = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    box = torch.tensor([[-0.1, -0.2, -0.3, -0.4]]), torch.tensor([[0.5, 0.6, 0.7, 0.0]])
    for gain, corner in ((100.0, [0.5, -0.2, 0.0, 0.0]), (-100.0, [-0.1, 0.6, 0.0, -0.4])):
        assert torch.equal(cross(name, weight, torch.tensor([gain]), *box), torch.tensor([corner]))


@each
def test_nothing_to_gain_no_weight_no_rows_and_nan(name):
    box = -torch.ones(2, 1, 3, 3), torch.ones(2, 1, 3, 3)
    weight = torch.stack([torch.ones(1, 3, 3), torch.zeros(1, 3, 3)])
    assert not cross(name, weight, torch.tensor([0.0, 1.0]), *box).any()
    assert cross(name, weight[:0], torch.zeros(0), box[0][:0], box[1][:0]).shape == (0, 1, 3, 3)
    cross(name, weight, torch.tensor([float("nan"), 1.0]), *box)  # must end


def test_a_pixel_counts_once():
    weight = torch.ones(1, 3, 2, 2)
    delta = hyperplane.cross_l0(weight, torch.tensor([4.0]), -torch.ones_like(weight), torch.ones_like(weight))
    assert norms.l0(delta).item() == 2
    assert delta.sum().item() == pytest.approx(4)
