"""Metrics: functions of columns, one entry an example; and rates of attacks on models."""

from saddlepoint.metrics.fooling import fooling_rate as fooling_rate
from saddlepoint.metrics.fooling import fooling_table as fooling_table
from saddlepoint.metrics.robustness import Bracket as Bracket
from saddlepoint.metrics.robustness import bracket as bracket
from saddlepoint.metrics.robustness import pair_matrix as pair_matrix
from saddlepoint.metrics.robustness import rho_adv as rho_adv
from saddlepoint.metrics.robustness import security_curve as security_curve
from saddlepoint.metrics.robustness import smallest as smallest
from saddlepoint.metrics.saliency import Hardness as Hardness
from saddlepoint.metrics.saliency import PairMatrices as PairMatrices
from saddlepoint.metrics.saliency import adversarial_distance as adversarial_distance
from saddlepoint.metrics.saliency import hardness as hardness
from saddlepoint.metrics.saliency import hardness_matrix as hardness_matrix
from saddlepoint.metrics.saliency import pair_matrices as pair_matrices
from saddlepoint.metrics.saliency import robustness_quantiles as robustness_quantiles
