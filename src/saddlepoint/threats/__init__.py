"""What attackers may do to an input."""

from saddlepoint.threats.ball import L0 as L0
from saddlepoint.threats.ball import L1 as L1
from saddlepoint.threats.ball import L2 as L2
from saddlepoint.threats.ball import Ball as Ball
from saddlepoint.threats.ball import Linf as Linf
