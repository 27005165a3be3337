"""Robustness per example: the worst case over attacks, never the mean of one attack.

Carlini et al., "On evaluating adversarial robustness", 2019: mean over examples of the minimum over attacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saddlepoint.core.result import Share

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Bracket:
    """Robust accuracy when some examples are undecided: between `low` and `high`, equal when none is."""

    low: Share
    high: Share

    @property
    def undecided(self) -> int:
        """How many examples may still go either way."""
        return self.high.count - self.low.count

    def __str__(self) -> str:
        return str(self.low) if not self.undecided else f"{self.low.value:.1%} to {self.high} ({self.undecided} undecided)"


def bracket(right: Bools, broken: Bools, decided: Bools) -> Bracket:
    """Robust accuracy of n examples.

    Args:
        right: (n,) the clean answer is right.
        broken: (n,) some attack found an adversarial input.
        decided: (n,) every attack has had its turn.
    """
    n, standing = len(right), right & ~broken
    return Bracket(Share(int((standing & decided).sum()), n), Share(int(standing.sum()), n))


def smallest(sizes: Sequence[Floats], right: Bools) -> Floats:
    """(n,) the smallest change that any attack found, 0 where the clean answer is wrong, infinite where none did."""
    least = np.min([np.full(len(right), np.inf), *sizes], axis=0)
    return np.where(right, least, 0.0)


def security_curve(distance: Floats, eps: Sequence[float]) -> list[Share]:
    """Accuracy at each radius: the share of examples with no known adversarial input within it.

    Args:
        distance: (n,) from `smallest`. It bounds the true distance from above, so that the curve is an upper bound, and
            it cannot rise with the radius.
        eps: radii.
    """
    slack = 1e-6 * np.maximum(1.0, np.asarray(eps))
    return [Share(int((distance > radius + more).sum()), len(distance)) for radius, more in zip(eps, slack, strict=True)]


def rho_adv(size: Floats, length: Floats) -> float:
    """Mean of |r| / |x|, the robustness measure of Moosavi-Dezfooli et al., "DeepFool", 2016; infinite if one was not found.

    It depends on the preprocessing of the inputs, whose origin it measures from: compare it on equal inputs only.

    Args:
        size: (n,) size of the smallest known change, 0 where the clean answer is wrong already.
        length: (n,) norm of the clean input, the same norm as that of the change.
    """
    if not len(size):
        return float("nan")
    ratio = np.divide(size, length, out=np.where(size > 0, np.inf, 0.0), where=length > 0)
    return float(ratio.mean())


def pair_matrix(source: NDArray[np.int64], target: NDArray[np.int64], value: Floats, classes: int) -> Floats:
    """(classes, classes) mean of `value` for every (source, target); NaN where there is no example."""
    total, count = np.zeros((classes, classes)), np.zeros((classes, classes))
    np.add.at(total, (source, target), value)
    np.add.at(count, (source, target), 1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
