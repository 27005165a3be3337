"""Randomness belongs to the example: whatever surrounds it, it draws the same numbers, and good ones."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.core.noise import HASHED_UP_TO, Noise

SIZES = [1, 7, HASHED_UP_TO, HASHED_UP_TO + 1, 150]
KINDS = {
    "uniform": lambda noise, *shape: noise.uniform(*shape),
    "uniform64": lambda noise, *shape: noise.uniform(*shape, dtype=torch.float64),
    "normal": lambda noise, *shape: noise.normal(*shape),
    "sign": lambda noise, *shape: noise.sign(*shape),
    "integers": lambda noise, *shape: noise.integers(1000, *shape),
}
size = pytest.mark.parametrize("size", SIZES)
kind = pytest.mark.parametrize("kind", KINDS)


def noise(ids, seed=0, stream=""):
    return Noise(seed, torch.as_tensor(ids), stream)


def thrice(source, kind, size):
    """Three draws in a row, stacked behind the rows."""
    return torch.stack([KINDS[kind](source, size) for _ in range(3)], dim=1)


@size
@kind
def test_the_batch_does_not_matter(kind, size):
    ids = torch.tensor([3, 900, 0, 7, 2**40, -5])
    whole = thrice(noise(ids), kind, size)
    order = torch.tensor([4, 0, 5, 3, 1, 2])
    assert torch.equal(thrice(noise(ids[order]), kind, size), whole[order])
    assert torch.equal(thrice(noise(ids[1:4]), kind, size), whole[1:4])
    for row in range(len(ids)):
        assert torch.equal(thrice(noise(ids[row : row + 1]), kind, size), whole[row : row + 1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6), st.integers(0, 2**64), st.data())
def test_any_ids_in_any_order(ids, seed, data):
    order = data.draw(st.permutations(range(len(ids))))
    whole = noise(ids, seed).uniform(5)
    assert torch.equal(noise([ids[i] for i in order], seed).uniform(5), whole[list(order)])


@size
@kind
def test_rows_that_leave_change_nothing_for_those_that_stay(kind, size):
    source = noise(range(6))
    first = KINDS[kind](source, size)
    stay = torch.tensor([1, 4, 5])
    chosen = source.select(stay)
    assert torch.equal(KINDS[kind](chosen, size), KINDS[kind](source, size)[stay])
    assert torch.equal(chosen.fork("a").uniform(size), source.fork("a").uniform(size)[stay])
    assert torch.equal(KINDS[kind](noise(range(6)), size), first)


def test_equal_ids_draw_equal_numbers():
    draw = noise([4, 4, 5]).normal(3)
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


@size
def test_everything_in_the_key_matters(size):
    source = noise([8])
    draws = {
        "first": source.uniform(size),
        "second": source.uniform(size),
        "third": source.uniform(size),
        "seed": noise([8], seed=1).uniform(size),
        "id": noise([9]).uniform(size),
        "stream": noise([8], stream="x").uniform(size),
        "fork": noise([8]).fork("x").uniform(size),
        "fork of fork": noise([8]).fork("x").fork("x").uniform(size),
    }
    for (a, one), (b, other) in itertools.combinations(draws.items(), 2):
        assert not torch.equal(one, other), (a, b)


def test_seeds_and_ids_do_not_run_into_one_another():
    """Neither seed + id nor seed XOR id may decide: neighbors of one seed are not those of the next."""
    ids = range(64)
    seen = torch.cat([noise(ids, seed).uniform(2, dtype=torch.float64) for seed in range(8)])
    assert len(torch.unique(seen, dim=0)) == 64 * 8


def test_two_numbers_of_a_row_differ():
    draw = noise(range(50)).uniform(HASHED_UP_TO, dtype=torch.float64)
    assert (draw[:, 1:] != draw[:, :-1]).float().mean() > 0.999


@pytest.mark.parametrize(("rows", "numbers"), [(4000, 16), (400, HASHED_UP_TO + 96)], ids=["hashed", "generated"])
@pytest.mark.parametrize("draw", [0, 1, 5])
def test_uniform_is_uniform(rows, numbers, draw):
    source = noise(range(rows), seed=3)
    for _ in range(draw):
        source.uniform(numbers)
    found = source.uniform(numbers, dtype=torch.float64)
    n = rows * numbers
    assert found.min() >= 0
    assert found.max() < 1
    assert float(found.mean()) == pytest.approx(0.5, abs=5 / math.sqrt(12 * n))
    assert float(found.var()) == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / n))
    counts = torch.histc(found.float(), 20, 0, 1)
    assert float(((counts - n / 20) ** 2 / (n / 20)).sum()) < 60  # 19 degrees of freedom: one in 300 000 is above
    across = torch.corrcoef(found.T) - torch.eye(numbers)
    assert across.abs().max() < 6 / math.sqrt(rows)
    below = torch.corrcoef(torch.stack([found[:-1].flatten(), found[1:].flatten()]))[0, 1]
    assert abs(float(below)) < 5 / math.sqrt(n)


@pytest.mark.parametrize(("rows", "numbers"), [(4000, 16), (400, HASHED_UP_TO + 96)], ids=["hashed", "generated"])
def test_normal_has_the_moments_of_a_normal(rows, numbers):
    found = noise(range(rows), seed=5).normal(numbers, dtype=torch.float64)
    n = rows * numbers
    assert found.isfinite().all()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert float((found**power).mean()) == pytest.approx(moment, abs=5 * math.sqrt(variance / n)), power
    assert float((found.abs() < 1.959964).double().mean()) == pytest.approx(0.95, abs=5 * math.sqrt(0.0475 / n))
    assert (torch.corrcoef(found.T) - torch.eye(numbers)).abs().max() < 6 / math.sqrt(rows)


@pytest.mark.parametrize("numbers", [1, HASHED_UP_TO, HASHED_UP_TO + 1])
def test_signs_are_fair(numbers):
    found = noise(range(2000)).sign(numbers)
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(found.mean())) < 5 / math.sqrt(found.numel())


@pytest.mark.parametrize("numbers", [20, HASHED_UP_TO + 16])
@pytest.mark.parametrize("high", [1, 2, 6, 10**6])
def test_integers_fill_their_range(numbers, high):
    found = noise(range(1000)).integers(high, numbers)
    assert found.dtype is torch.int64
    assert found.min() >= 0
    assert found.max() < high
    if high <= 6:
        counts = torch.bincount(found.flatten(), minlength=high)
        expected = found.numel() / high
        assert float(((counts - expected) ** 2 / expected).sum()) < 40
    else:
        assert float(found.double().mean()) == pytest.approx(high / 2, rel=0.02)


def test_every_row_may_have_its_own_range():
    high = torch.tensor([[1], [2], [50]])
    found = noise(range(3)).integers(high, 40)
    assert (found >= 0).all()
    assert (found < high).all()
    assert found[2].unique().numel() > 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (2, 5), (3, 4, 8), (1,), (0,)])
def test_shapes_and_types(shape, dtype):
    for draw in (noise(range(4)).uniform, noise(range(4)).normal, noise(range(4)).sign):
        found = draw(*shape, dtype=dtype)
        assert found.shape == (4, *shape)
        assert found.dtype is dtype


def test_no_rows_draw_nothing():
    for count in (3, HASHED_UP_TO + 1):
        source = noise(torch.zeros(0, dtype=torch.int64))
        assert source.uniform(count).shape == source.normal(count).shape == (0, count)


@size
@kind
def test_nobody_elses_generator_is_touched(kind, size):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    KINDS[kind](noise(range(3)).fork("x"), size)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002
    torch.manual_seed(1)
    one = KINDS[kind](noise(range(3)), size)
    torch.manual_seed(2)
    assert torch.equal(KINDS[kind](noise(range(3)), size), one)


def test_float32_uniform_stays_below_one():
    """A float32 made by rounding a float64 close to one would be one."""
    found = noise(range(20_000)).uniform(HASHED_UP_TO)
    assert float(found.max()) < 1
    assert float((1 - found).log().min()) > -math.inf
