"""Projections against a slow reference that solves the dual, and the random starts that are made with them."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from saddlepoint.core.noise import Noise
from saddlepoint.ops import norms, projections
from saddlepoint.threats import L0, L1, L2, Linf

NORMS = {"linf": norms.linf, "l2": norms.l2, "l1": norms.l1, "l0": norms.l0}
ONTO = {name: getattr(projections, f"onto_{name}") for name in NORMS}
THREATS = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
each = pytest.mark.parametrize("name", NORMS)
convex = pytest.mark.parametrize("name", ["linf", "l2", "l1"])


def reference(name, delta, eps, low, high):
    """The projection of one row (d,), by root finding on the multiplier of the norm."""
    if name == "linf":
        return np.clip(delta, np.maximum(low, -eps), np.minimum(high, eps))
    if name == "l2":
        point, length, last = lambda t: np.clip(t * delta, low, high), lambda v: np.sqrt((v**2).sum()), 1.0
    else:
        most = np.abs(delta).max()
        point = lambda t: np.clip(np.sign(delta) * np.maximum(np.abs(delta) - (1 - t) * most, 0), low, high)  # noqa: E731
        length, last = lambda v: np.abs(v).sum(), 1.0
    if length(point(last)) <= eps:
        return point(last)
    return point(brentq(lambda t: length(point(t)) - eps, 0.0, last, xtol=1e-15, maxiter=500))


def farther(delta, eps, low, high):
    """The smallest squared distance from one row (d,) to a change of at most eps features, by trying all sets of them."""
    kept, dropped = (delta - np.clip(delta, low, high)) ** 2, delta**2
    features = range(len(delta))
    sets = combinations(features, int(min(eps, len(delta))))
    return min(sum(kept[i] if i in chosen else dropped[i] for i in features) for chosen in map(set, sets))


def optimal(name, delta, eps, low, high, tolerance=1e-6):
    """The projection (b, d) is in ball and box, is a fixed point, and nothing in the set is nearer; returns it."""
    given = delta.clone()
    found = ONTO[name](delta, eps, low, high)
    assert torch.equal(delta, given), "the argument was changed"
    assert found.shape == delta.shape
    assert found.dtype is delta.dtype
    assert found.isfinite().all()
    assert (found >= low).all()
    assert (found <= high).all()
    assert (NORMS[name](found) <= eps + tolerance * max(1.0, min(eps, 1e3)) / 10).all(), NORMS[name](found) - eps
    again = ONTO[name](found, eps, low, high)
    assert torch.allclose(again, found, rtol=0, atol=tolerance), (again - found).abs().max()
    rows = zip(*(t.double().numpy() for t in (delta, found, low, high)), strict=True)
    for row, projected, bottom, top in rows:
        if name == "l0":
            distance = ((row - projected) ** 2).sum()
            assert distance == pytest.approx(farther(row, eps, bottom, top), rel=tolerance, abs=tolerance)
        else:
            np.testing.assert_allclose(projected, reference(name, row, eps, bottom, top), rtol=0, atol=tolerance)
    return found


numbers = st.one_of(
    st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, -0.5, 2.0]),
    st.floats(-3, 3, allow_subnormal=False).map(lambda v: round(v, 6)),
)
widths = st.one_of(st.sampled_from([0.0, 0.0, 0.5, 1.0, 10.0]), st.floats(0, 2).map(lambda v: round(v, 6)))
radii = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 1e6, math.inf]), st.floats(1e-3, 6))


@st.composite
def problems(draw, features=8):
    rows, d = draw(st.integers(1, 4)), draw(st.integers(1, features))

    def matrix(values):
        return torch.tensor(draw(st.lists(st.lists(values, min_size=d, max_size=d), min_size=rows, max_size=rows))).double()

    return matrix(numbers), draw(radii), -matrix(widths), matrix(widths)


@convex
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_nothing_in_the_set_is_nearer(name, problem):
    optimal(name, *problem)


@settings(max_examples=150, deadline=None)
@given(problem=problems(6))
def test_the_pixels_that_save_most_are_kept(problem):
    delta, eps, low, high = problem
    optimal("l0", delta, float(math.floor(eps)) if math.isfinite(eps) else eps, low, high)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_rows_like_images(name, dtype, seed):
    """Long rows of what attacks really project: a step out of a ball around points of the unit box, some on its walls."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 300, generator=generator, dtype=dtype).mul(1.4).sub(0.2).clamp(0, 1)
    delta = torch.randn(6, 300, generator=generator, dtype=dtype) * 10.0 ** (seed - 3)
    eps = {"linf": 0.03, "l2": 0.5, "l1": 12.0, "l0": 10.0}[name]
    low, high = -x, 1 - x
    if name == "l0":
        found = ONTO[name](delta, eps, low, high)
        assert THREATS[name](eps).contains(x, x + found).all()
    else:
        found = optimal(name, delta, eps, low, high, 1e-6 if dtype is torch.float64 else 2e-5)
    assert THREATS[name](eps).contains(x, x + found).all()


@each
def test_radius_zero_leaves_nothing(name):
    delta = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    assert not ONTO[name](delta, 0.0, -torch.ones(2, 3), torch.ones(2, 3)).any()


@each
@pytest.mark.parametrize("eps", [5.0, 1e30, math.inf])
def test_rows_inside_stay_as_they_are(name, eps):
    delta = torch.tensor([[0.1, -0.2, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 1.0]])
    assert torch.equal(ONTO[name](delta, eps, -torch.ones(3, 3), torch.ones(3, 3)), delta)


@each
def test_a_row_inside_stays_beside_one_outside(name):
    delta = torch.tensor([[0.1, 0.0, 0.0], [3.0, 3.0, 3.0]], dtype=torch.float64)
    found = optimal(name, delta, 1.0, -torch.ones(2, 3).double(), torch.ones(2, 3).double())
    assert torch.equal(found[0], delta[0])


@each
def test_a_row_does_not_depend_on_its_neighbors(name):
    generator = torch.Generator().manual_seed(0)
    delta, x = torch.randn(20, 9, generator=generator) * 2, torch.rand(20, 9, generator=generator)
    whole = ONTO[name](delta, 1.0, -x, 1 - x)
    for row in range(20):
        part = slice(row, row + 1)
        alone = ONTO[name](delta[part], 1.0, -x[part], 1 - x[part])
        assert torch.allclose(alone, whole[part], rtol=0, atol=1e-6)


@each
def test_no_width_anywhere(name):
    delta = torch.randn(3, 5, dtype=torch.float64)
    assert not optimal(name, delta, 1.0, torch.zeros(3, 5).double(), torch.zeros(3, 5).double()).any()


@each
@pytest.mark.parametrize("room", [0.0, 0.3, 1.0, 9.0])
def test_one_feature(name, room):
    delta = torch.tensor([[4.0], [-4.0], [0.2], [0.0]], dtype=torch.float64)
    optimal(name, delta, 1.0, torch.full_like(delta, -room), torch.full_like(delta, room))


@convex
def test_ties_are_shared(name):
    delta = torch.ones(1, 4, dtype=torch.float64) * torch.tensor([1, -1, 1, -1])
    found = optimal(name, delta, 0.5, -torch.ones(1, 4).double(), torch.ones(1, 4).double())
    assert torch.allclose(found.abs(), found.abs()[:, :1].expand(-1, 4), rtol=0, atol=1e-12)


@convex
@pytest.mark.parametrize("far", [1e4, 1e8])
def test_points_far_outside(name, far):
    """Far away only the direction matters: the projection is that of the same point brought nearer."""
    delta = torch.tensor([[far, -far, 0.5 * far, 0.0]], dtype=torch.float64)
    low, high = torch.tensor([[-0.3, -0.3, -9.0, -9.0]]).double(), torch.tensor([[0.3, 0.3, 9.0, 9.0]]).double()
    found = ONTO[name](delta, 1.0, low, high)
    expected = torch.from_numpy(reference(name, delta[0].numpy() / far * 100, 1.0, low[0].numpy(), high[0].numpy()))
    assert torch.allclose(found[0], expected, rtol=0, atol=1e-6)


@each
@pytest.mark.parametrize("far", [1.0, 10.0, 100.0, 1e4, 1e15])
@pytest.mark.parametrize("eps", [1.0, 12.0, 200.0])
def test_rounding_never_leaves_the_ball(name, far, eps):
    """A step far out of the ball loses digits, which may cost nearness but not membership: such a point is thrown away."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(8, 784, generator=generator)
    delta = torch.randn(8, 784, generator=generator) * far
    assert THREATS[name](eps).contains(x, x + ONTO[name](delta, eps, -x, 1 - x)).all()


def test_pixels_of_an_image_change_together():
    delta = torch.zeros(1, 3, 2, 2)
    delta[0, :, 0, 0] = 0.6
    delta[0, 1, 1, 1] = 1.0
    found = projections.onto_l0(delta, 1.0, torch.full_like(delta, -1), torch.ones_like(delta))
    assert found[0, :, 0, 0].tolist() == pytest.approx([0.6] * 3)
    assert int((found != 0).sum()) == 3


@each
@pytest.mark.parametrize("shape", [(4,), (2, 3), (3, 4, 4), (2, 2, 2, 2)])
def test_any_shape_and_no_rows(name, shape):
    for rows in (0, 3):
        delta = torch.randn(rows, *shape)
        found = ONTO[name](delta, 1.0, -torch.ones_like(delta), torch.ones_like(delta))
        assert found.shape == delta.shape


# -- random starts ---------------------------------------------------------------------------------------------------


def start(threat, x, bounds=(0.0, 1.0), seed=0, ids=None):
    return threat.start(x, Noise(seed, torch.arange(len(x)) if ids is None else ids), bounds)


@each
@pytest.mark.parametrize("eps", [0.0, 1.0, 3.0, 1e6, math.inf])
@pytest.mark.parametrize("shape", [(1,), (12,), (3, 4, 4)])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_starts_are_inside_and_in_bounds(name, eps, shape, bounds):
    generator = torch.Generator().manual_seed(1)
    low, high = bounds
    x = (torch.rand(16, *shape, generator=generator) * 1.5 - 0.25).clamp(0, 1) * (high - low) + low
    threat = THREATS[name](eps)
    theta = start(threat, x, bounds)
    x_adv = threat.apply(x, theta)
    assert theta.isfinite().all()
    assert threat.contains(x, x_adv).all()
    assert (x_adv >= low - 1e-6).all()
    assert (x_adv <= high + 1e-6).all()
    assert eps == 0 or theta.flatten(1).any(1).sum() >= 12
    assert eps > 0 or not theta.any()


@each
def test_starts_are_reproducible_and_belong_to_the_example(name):
    x = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    threat = THREATS[name](2.0)
    whole = start(threat, x)
    assert torch.equal(start(threat, x), whole)
    assert not torch.equal(start(threat, x, seed=1), whole)
    order = torch.tensor([3, 0, 5])
    assert torch.allclose(start(threat, x[order], ids=order), whole[order], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["linf", "l2", "l1"])
@pytest.mark.parametrize("features", [1, 2, 5, 40])
def test_starts_are_uniform_in_the_ball(name, features):
    """Uniform in a ball of any norm in d dimensions, the norm over eps is a d-th root: its mean is d / (d + 1)."""
    rows, eps = 20_000, 0.7
    theta = start(THREATS[name](eps), torch.zeros(rows, features, dtype=torch.float64), (-100.0, 100.0))
    share = NORMS[name](theta) / eps
    spread = math.sqrt(features / (features + 2)) / (features + 1)
    assert float(share.mean()) == pytest.approx(features / (features + 1), abs=5 * spread / math.sqrt(rows))
    assert float((share**features).mean()) == pytest.approx(0.5, abs=5 / math.sqrt(12 * rows))
    assert float((share**features).var()) == pytest.approx(1 / 12, rel=0.05)
    scale = theta.square().mean().sqrt()
    assert (theta.mean(0) / scale).abs().max() < 6 / math.sqrt(rows)
    sizes = theta.abs().mean(0)
    assert float(sizes.max() / sizes.min()) < 1.1
    assert (torch.corrcoef(theta.T).reshape(features, features) - torch.eye(features)).abs().max() < 6 / math.sqrt(rows)


def test_starts_of_l0_choose_that_many_pixels():
    theta = start(L0(3), torch.full((500, 2, 4, 4), 0.5), (-100.0, 100.0))
    assert (norms.l0(theta) == 3).all()
    chosen = norms.pixels(theta != 0).any(1).double().mean(0)
    assert float(chosen.min()) > 0.1
    assert float(chosen.max()) < 0.28


@convex
def test_starts_in_float32_do_not_leave_the_ball(name):
    x = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    eps = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}[name]
    threat = THREATS[name](eps)
    theta = start(threat, x)
    assert threat.contains(x, threat.apply(x, theta)).all()
    assert float(threat.size(x, x + theta).max()) <= eps + 1e-6
