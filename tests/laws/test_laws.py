"""Every registered attack obeys every law: every one that searches, not what others have learned and it only plays."""

import pytest

from saddlepoint.attacks.decision.boundary import Boundary
from saddlepoint.attacks.decision.grid_search import GridSearch
from saddlepoint.attacks.decision.hop_skip_jump import HopSkipJump
from saddlepoint.attacks.decision.noise import SaltAndPepper
from saddlepoint.attacks.decision.pointwise import Pointwise
from saddlepoint.attacks.decision.random_search import RandomSearch
from saddlepoint.attacks.decision.rays import RayS
from saddlepoint.attacks.decision.sign_opt import SignOPT
from saddlepoint.attacks.decision.sur_free import SurFree
from saddlepoint.attacks.ensemble.autoattack import AutoAttack
from saddlepoint.attacks.ensemble.cascade import Cascade
from saddlepoint.attacks.ensemble.each_class import EachClass
from saddlepoint.attacks.ensemble.restarts import Restarts
from saddlepoint.attacks.gradient.apgd import APGD
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.attacks.minimum_norm.brendel_bethge import BrendelBethge
from saddlepoint.attacks.minimum_norm.fab import FAB
from saddlepoint.attacks.score.bandits import Bandits
from saddlepoint.attacks.score.feature_search import FeatureSearch
from saddlepoint.attacks.score.label_nes import LabelNES
from saddlepoint.attacks.score.nes import NES
from saddlepoint.attacks.score.one_pixel import OnePixel
from saddlepoint.attacks.score.partial_nes import PartialNES
from saddlepoint.attacks.score.simba import SimBA
from saddlepoint.attacks.score.sparse_rs import SparseRS
from saddlepoint.attacks.score.spsa import SPSA
from saddlepoint.attacks.score.square import Square
from saddlepoint.attacks.score.zoo import ZOO
from saddlepoint.core.model import Access
from saddlepoint.core.registry import registry
from saddlepoint.testing import Law, laws

# The expensive ones with fewer steps; every other attack is tried as it comes.
LIGHTER = {
    "AutoAttack": AutoAttack(steps=20, queries=100),
    "Bandits": Bandits(steps=400),
    "Boundary": Boundary(steps=100),
    "BrendelBethge": BrendelBethge(steps=20),
    "EachClass": EachClass(attack=PGD(steps=10), classes=2),
    "FAB": FAB(steps=5),
    "FeatureSearch": FeatureSearch(steps=40),
    "GridSearch": GridSearch(points=(15, 15)),
    "Cascade": Cascade(attacks=(PGD(steps=10), APGD(steps=10, targets=2), Square(steps=50))),
    "HopSkipJump": HopSkipJump(steps=10),
    "LabelNES": LabelNES(steps=40, samples=10, votes=2, attempts=5),
    "NES": NES(steps=40, samples=20),
    "PartialNES": PartialNES(steps=50, samples=10, attempts=5),
    "Pointwise": Pointwise(restarts=3),
    "RandomSearch": RandomSearch(candidates=200),
    "RayS": RayS(steps=300),
    "SaltAndPepper": SaltAndPepper(steps=100),
    "SignOPT": SignOPT(steps=10, evaluations=100),
    "OnePixel": OnePixel(population=60, generations=30),
    "Restarts": Restarts(attack=PGD(steps=10), restarts=3),
    "SPSA": SPSA(steps=30, samples=20),
    "SimBA": SimBA(steps=300),
    "SparseRS": SparseRS(steps=300),
    "Square": Square(steps=400),
    "SurFree": SurFree(frequencies=1.0, steps=100),
    "ZOO": ZOO(searches=6),
}
SEARCHES = {name: cls for name, cls in registry("attack").classes.items() if cls.access is not Access.NONE}
ALL = [law for name, cls in SEARCHES.items() for law in laws(LIGHTER.get(name) or cls())]


@pytest.mark.parametrize("law", ALL, ids=str)
def test_law(law: Law) -> None:
    law()
