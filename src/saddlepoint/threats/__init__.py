"""What attackers may do to an input."""

from saddlepoint.threats.ball import L0 as L0
from saddlepoint.threats.ball import L1 as L1
from saddlepoint.threats.ball import L2 as L2
from saddlepoint.threats.ball import Ball as Ball
from saddlepoint.threats.ball import Linf as Linf
from saddlepoint.threats.color import Color as Color
from saddlepoint.threats.parametric import Parametric as Parametric
from saddlepoint.threats.spatial import Flow as Flow
from saddlepoint.threats.spatial import Spatial as Spatial
from saddlepoint.threats.tabular import Feature as Feature
from saddlepoint.threats.tabular import Tabular as Tabular
from saddlepoint.threats.tabular import features_of as features_of
