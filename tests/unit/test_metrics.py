"""Metrics on columns small enough to do by hand."""

import math

import numpy as np
import pytest

from saddlepoint.metrics import rho_adv


def test_rho_adv_is_the_mean_of_the_relative_changes():
    assert rho_adv(np.array([1.0, 0.0, 3.0]), np.array([2.0, 5.0, 4.0])) == pytest.approx((0.5 + 0 + 0.75) / 3)


def test_rho_adv_hides_no_failure():
    assert rho_adv(np.array([1.0, np.inf]), np.array([2.0, 5.0])) == math.inf
    assert rho_adv(np.array([0.0, 1.0]), np.array([0.0, 0.0])) == math.inf  # no length to compare with
    assert rho_adv(np.array([0.0]), np.array([0.0])) == 0
    assert math.isnan(rho_adv(np.array([]), np.array([])))
