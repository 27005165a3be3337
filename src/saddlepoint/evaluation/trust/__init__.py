"""Whether a number can be believed: what is looked at before, during and after the attacks, and what is repaired."""

from saddlepoint.evaluation.trust.before import Examination as Examination
from saddlepoint.evaluation.trust.before import examine as examine
from saddlepoint.evaluation.trust.check import Check as Check
