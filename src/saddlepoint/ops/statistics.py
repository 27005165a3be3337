"""Intervals for shares."""

from scipy.stats import binomtest


def interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share `count / n`; (0, 1) when nothing was observed.

    >>> low, high = interval(0, 500)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.0074)
    """
    if n == 0:
        return 0.0, 1.0
    found = binomtest(count, n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)
