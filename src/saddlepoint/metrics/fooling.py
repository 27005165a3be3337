"""How often an attack changes the model's answer, whatever the label: the measure of universal perturbations.

Moosavi-Dezfooli et al., "Universal adversarial perturbations", 2017.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_answers
from saddlepoint.core.attack import Attack
from saddlepoint.core.errors import InputError
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.play import as_model, attack, checked_inputs
from saddlepoint.core.result import Share
from saddlepoint.core.threat import Threat


def fooling_rate(model: Any, x: Any, threat: Threat | str, method: Attack | str, *, seed: int = 0) -> Share:
    """The share of inputs whose answer `method` changes, compared with the model's answer to the clean input.

    Args:
        model, x, threat, method, seed: as for `saddlepoint.attack`. Inputs without a finite answer count as not fooled.
    """
    model = as_model(model)
    x = checked_inputs(x, model)
    with torch.inference_mode(False), model.session(), torch.no_grad():
        answers = [checked_answers(model, rows) for rows in x.split(256)]
    clean = torch.cat(answers).clamp_min(0) if answers else torch.zeros(0, dtype=torch.int64)
    found = attack(model, x, Untargeted(clean), threat, method, seed=seed).success_rate
    return Share(found.count, len(x))


def fooling_table(
    methods: Mapping[str, Attack], models: Mapping[str, Any], x: Tensor, threat: Threat | str
) -> dict[str, dict[str, Share]]:
    """The fooling rate of every method (outer key) on every model (inner key), on the same inputs.

    With methods that were learned on the models, the diagonal is white box and the rest is transfer.
    """
    if not methods or not models:
        raise InputError("A table needs at least one method and one model; got none. Give mappings from names.")
    return {
        name: {on: fooling_rate(model, x, threat, method) for on, model in models.items()}
        for name, method in methods.items()
    }
