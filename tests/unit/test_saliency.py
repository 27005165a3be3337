"""The metrics of Papernot et al. (2016), by hand."""

import numpy as np
import pytest
import torch

from saddlepoint.core.errors import AccessError
from saddlepoint.core.model import Access
from saddlepoint.metrics import (
    PairMatrices,
    adversarial_distance,
    hardness,
    hardness_matrix,
    pair_matrices,
    robustness_quantiles,
)
from saddlepoint.testing.oracles import Oracle, Wavy


def test_pair_matrices():
    source, target = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 2, 0, 2])
    success, distortion = np.array([True, False, False, True, True]), np.array([0.2, 0.6, 0.5, 0.1, 0.9])
    found = pair_matrices(source, target, success, distortion, 3)
    nan = np.nan
    np.testing.assert_allclose(found.success, [[nan, 0.5, 0.0], [1.0, nan, nan], [nan, nan, nan]])
    np.testing.assert_allclose(found.distortion, [[nan, 0.2, nan], [0.1, nan, nan], [nan, nan, nan]])
    tried = pair_matrices(source, target, success, distortion, 3, over="all")
    np.testing.assert_allclose(tried.distortion, [[nan, 0.4, 0.5], [0.1, nan, nan], [nan, nan, nan]])


def test_hardness_is_the_area_under_distortion_over_success():
    found = hardness(np.array([1.0, 0.2, 0.6]), np.array([5.0, 1.0, 3.0]))
    assert found.value == pytest.approx(0.4 * 2 + 0.4 * 4)
    assert (found.low, found.high) == (0.2, 1.0)


def test_equal_rates_are_merged_and_unknown_distortions_left_out():
    found = hardness(np.array([0.0, 0.5, 0.5, 1.0]), np.array([np.nan, 1.0, 3.0, 4.0]))
    assert found.value == pytest.approx(0.5 * (2 + 4) / 2)
    assert found.low == 0.5


@pytest.mark.parametrize("rates", [[], [0.5], [0.5, 0.5]])
def test_nothing_is_extrapolated_from_one_rate(rates):
    assert np.isnan(hardness(np.array(rates), np.ones(len(rates))).value)


def test_hardness_of_every_pair():
    nan = np.nan
    low = PairMatrices(np.array([[nan, 0.5], [0.0, nan]]), np.array([[nan, 2.0], [nan, nan]]))
    high = PairMatrices(np.array([[nan, 1.0], [1.0, nan]]), np.array([[nan, 4.0], [3.0, nan]]))
    np.testing.assert_allclose(hardness_matrix([low, high]), [[nan, 1.5], [nan, nan]])


class Slopes(Oracle):
    def answer(self, x):
        return x @ torch.tensor([[1.0, -1.0, 0.5, 2.0], [-2.0, 1.0, 1.0, 0.0], [0.5, -1.0, -1.0, -3.0]]).T


def test_adversarial_distance_counts_features_that_do_not_help():
    # Toward 0: alpha = (1, -1, .5, 2), beta = (-1.5, 0, 0, -3): two of four help. Toward 1: beta = (1.5, -2, -.5, -1),
    # alpha = (-2, 1, 1, 0): two help. Toward 2: alpha = (.5, -1, -1, -3), beta = (-1, ...): one helps.
    x = torch.rand(3, 4)
    found = adversarial_distance(Slopes((4,)), x, torch.tensor([0, 1, 2]), batch=2)
    assert found.tolist() == [0.5, 0.5, 0.75]
    assert not x.requires_grad


def test_adversarial_distance_needs_gradients():
    model = Wavy(access=Access.SCORES)
    with pytest.raises(AccessError):
        adversarial_distance(model, *model.inputs(2))


def test_robustness_is_the_least_distance_with_quantiles_beside_it():
    assert robustness_quantiles(np.array([0.9, 0.3, 0.8, 0.7]), (0.0, 0.5)) == {0.0: 0.3, 0.5: 0.75}
