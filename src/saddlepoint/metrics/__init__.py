"""Metrics: pure functions of columns, one entry an example."""

from saddlepoint.metrics.robustness import Bracket as Bracket
from saddlepoint.metrics.robustness import bracket as bracket
from saddlepoint.metrics.robustness import pair_matrix as pair_matrix
from saddlepoint.metrics.robustness import security_curve as security_curve
from saddlepoint.metrics.robustness import smallest as smallest
