"""saddlepoint: how robust is this classifier, and can I believe the number?

>>> import saddlepoint as sp
>>> sp.Linf("8/255")
Linf(eps=0.03137254901960784)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "attack": "core.play",
    "fit": "core.play",
    "cite": "core.paper",
    "Attack": "core.attack",
    "LearnedAttack": "core.attack",
    "Goal": "core.goal",
    "Untargeted": "core.goal",
    "Targeted": "core.goal",
    "LeastLikely": "core.goal",
    "SourceTarget": "core.goal",
    "ReduceConfidence": "core.goal",
    "Model": "core.model",
    "Access": "core.model",
    "Stop": "core.game",
    "Threat": "core.threat",
    "Result": "core.result",
    "Outcome": "core.result",
    "SaddlepointError": "core.errors",
    "Linf": "threats",
    "L2": "threats",
    "L1": "threats",
    "L0": "threats",
    "Spatial": "threats",
    "Flow": "threats",
    "Color": "threats",
    "Tabular": "threats",
    "TorchModel": "models",
    "CallableModel": "models",
    "HTTPModel": "models",
    "SklearnModel": "models",
    "ExpectationOver": "models",
    "Defended": "models",
    "Reparameterized": "models",
    "Ensemble": "models",
    "Accelerated": "models",
    "Guarded": "models",
    "Trainer": "models.train",
    "audit": "auditing",
    "check": "auditing",
}
__all__ = [*_HOMES, "attacks"]

if TYPE_CHECKING:
    from saddlepoint import attacks as attacks
    from saddlepoint.auditing import audit as audit
    from saddlepoint.auditing import check as check
    from saddlepoint.core.attack import Attack as Attack
    from saddlepoint.core.attack import LearnedAttack as LearnedAttack
    from saddlepoint.core.errors import SaddlepointError as SaddlepointError
    from saddlepoint.core.game import Stop as Stop
    from saddlepoint.core.goal import Goal as Goal
    from saddlepoint.core.goal import LeastLikely as LeastLikely
    from saddlepoint.core.goal import ReduceConfidence as ReduceConfidence
    from saddlepoint.core.goal import SourceTarget as SourceTarget
    from saddlepoint.core.goal import Targeted as Targeted
    from saddlepoint.core.goal import Untargeted as Untargeted
    from saddlepoint.core.model import Access as Access
    from saddlepoint.core.model import Model as Model
    from saddlepoint.core.paper import cite as cite
    from saddlepoint.core.play import attack as attack
    from saddlepoint.core.play import fit as fit
    from saddlepoint.core.result import Outcome as Outcome
    from saddlepoint.core.result import Result as Result
    from saddlepoint.core.threat import Threat as Threat
    from saddlepoint.models import CallableModel as CallableModel
    from saddlepoint.models import Defended as Defended
    from saddlepoint.models import Ensemble as Ensemble
    from saddlepoint.models import ExpectationOver as ExpectationOver
    from saddlepoint.models import Guarded as Guarded
    from saddlepoint.models import HTTPModel as HTTPModel
    from saddlepoint.models import Reparameterized as Reparameterized
    from saddlepoint.models import SklearnModel as SklearnModel
    from saddlepoint.models import TorchModel as TorchModel
    from saddlepoint.models.train import Trainer as Trainer
    from saddlepoint.threats import L0 as L0
    from saddlepoint.threats import L1 as L1
    from saddlepoint.threats import L2 as L2
    from saddlepoint.threats import Color as Color
    from saddlepoint.threats import Flow as Flow
    from saddlepoint.threats import Linf as Linf
    from saddlepoint.threats import Spatial as Spatial
    from saddlepoint.threats import Tabular as Tabular


def __getattr__(name: str) -> Any:
    """Load a name's room when the name is first used, so that `import saddlepoint` costs nothing."""
    if name == "attacks":
        return import_module("saddlepoint.attacks")
    if name not in _HOMES:
        raise AttributeError(f"module 'saddlepoint' has no attribute {name!r}")
    value = getattr(import_module(f"saddlepoint.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
