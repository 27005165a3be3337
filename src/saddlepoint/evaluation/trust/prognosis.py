"""What is known of a model before it is attacked, and how it will therefore be asked: plain data, kept with the run."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from saddlepoint.core.model import Model
from saddlepoint.core.threat import Threat
from saddlepoint.evaluation.trust.before import Examination, examine
from saddlepoint.evaluation.trust.check import Check
from saddlepoint.evaluation.trust.repair import Recipe, choose


@dataclass(frozen=True)
class Prognosis:
    """What was found before the attacks, and what is done about it.

    Attributes:
        examination: the findings.
        recipe: how the model is asked.
        trials: the recipes that competed, in words, with what each left standing.
        spent: forward and backward passes of the trials.
    """

    examination: Examination
    recipe: Recipe
    trials: tuple[dict[str, Any], ...] = ()
    spent: int = 0

    @property
    def hopeless(self) -> bool:
        """Whether there is no answer that an attack could change."""
        return self.examination.hopeless

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "examination": asdict(self.examination),
            "recipe": self.recipe.data(),
            "trials": list(self.trials),
            "spent": self.spent,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Prognosis":
        """Read what `data` wrote."""
        found = dict(data["examination"])
        found["checks"] = tuple(Check(**c) for c in found["checks"])
        found["stops"] = tuple(found["stops"])
        return cls(Examination(**found), Recipe.of(data["recipe"]), tuple(data["trials"]), data["spent"])


def prognosis(
    model: Model, x: Tensor, y: Tensor, threat: Threat, *, claimed: float | None = None, seed: int = 0
) -> Prognosis:
    """Examine a model, and choose how it is to be asked.

    Args:
        model: as it was given.
        x: (n, *shape) clean inputs.
        y: (n,) labels.
        threat: where the attacks will search.
        claimed: the clean accuracy that is claimed.
        seed: of all randomness.

    Raises:
        ModelError: the model fails, or returns something else than scores or labels.
    """
    found = examine(model, x, y, threat=threat, claimed=claimed, seed=seed)
    if found.hopeless:
        return Prognosis(found, Recipe())
    recipe, trials = choose(model, found, x, y, threat, seed=seed)
    return Prognosis(found, recipe, tuple(t.data() for t in trials), sum(t.passes for t in trials))
