"""During the attacks: one attack is watched step by step, on a few examples.

The indicators are those of Pintor et al., "Indicators of attack failure: debugging and improving optimization of adversarial
examples", NeurIPS 2022, as far as they concern the way of an attack; the others are looked for before and after.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.answers import natural_scale
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.play import attack
from saddlepoint.core.threat import Threat
from saddlepoint.evaluation.trust.check import Check
from saddlepoint.models.parts import Wrapped

WATCHED = 16  # examples
STEPS = 40
LAST = 10  # steps at the end, where nothing should move any more
MOVED = 0.05  # of the whole way of the loss
DECADES = range(-12, 7)  # of the histogram of gradient norms


@dataclass(frozen=True)
class Evidence:
    """What was seen while an attack was watched.

    Attributes:
        margins: (steps + 1, 5) smallest, quartiles and largest margin, on the natural scale, of the examples at every step.
        norms: how many gradients had a Euclidean norm in each decade, from zero and 1e-12 up; the first counts exact zeros.
        checks: the findings.
        n: how many examples.
        forwards, backwards: rows asked.
    """

    margins: list[list[float]]
    norms: list[int]
    checks: tuple[Check, ...]
    n: int
    forwards: int
    backwards: int

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.__dict__, "checks": [c.data() for c in self.checks]}


def watch(
    model: Model, x: Tensor, y: Tensor, threat: Threat, *, seed: int = 0, ids: Tensor | None = None
) -> Evidence | None:
    """Run PGD to its end on a few examples, and look at every step; None for a model without gradients.

    Args:
        model: as it is attacked.
        x: (n, *shape) clean inputs; the first 16 are used.
        y: (n,) labels.
        threat: where the attack searches.
        seed: of its noise.
        ids: (n,) numbers of the examples.
    """
    if model.access < Access.GRADIENTS or not len(x):
        return None
    x, y = x[:WATCHED], y[:WATCHED]
    watched = _Watched(model)
    method = PGD(steps=STEPS, loss="margin")
    result = attack(
        watched, x, y, threat, method, seed=seed, ids=None if ids is None else ids[:WATCHED], batch=len(x), stop=Stop.NEVER
    )
    playing = result.queries > 1
    rows = playing.to(x.device)
    if not watched.asked or any(len(answer) != int(rows.sum()) for answer in watched.asked):
        return None  # nothing to watch, or memory ran out and the examples came in parts
    goal = Untargeted(y.to(x.device), model.rejection).select(rows)
    scale = natural_scale(watched.asked[0]).double()
    margins = torch.stack([goal.margin(answer).double() / scale for answer in watched.asked])
    norms = torch.cat([n for n in watched.norms if len(n)]) if watched.norms else torch.zeros(0)
    quartiles = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=margins.dtype, device=margins.device)
    curves = margins.nan_to_num(nan=0.0, posinf=1e6, neginf=-1e6).quantile(quartiles, dim=1).T
    return Evidence(
        [[round(v, 4) for v in row] for row in curves.tolist()], histogram(norms), tuple(_checks(margins, norms)),
        int(rows.sum()), result.forwards, result.backwards,
    )  # fmt: skip


def histogram(norms: Tensor) -> list[int]:
    """Counts of exact zeros, then of each decade."""
    zero = int((norms == 0).sum())
    decades = norms[norms > 0].double().log10().floor().clamp(DECADES[0], DECADES[-1])
    return [zero, *(int((decades == d).sum()) for d in DECADES)]


def _checks(margins: Tensor, norms: Tensor) -> list[Check]:
    n = margins.shape[1]
    broken = ~norms.isfinite()
    zero = float((norms == 0).float().mean()) if len(norms) else 0.0
    best = margins.cummin(0).values
    standing = best[-1] >= 0
    improved = best[-1] < margins[0] - 1e-6
    way = (best[0] - best[-1]).clamp_min(1e-12)
    moving = ((best[-1 - min(LAST, len(best) - 1)] - best[-1]) / way > MOVED) & standing
    staircase = margins.unique().numel() <= 4  # as of an answer alone: such a margin jumps, and does not fall
    lost = (best[-1] < 0) & (margins[-1] >= 0)
    return [
        Check(
            "gradients on the way",
            zero <= 0.05 and not broken.any(),
            f"{zero:.1%} of {len(norms)} gradients were exactly zero, and {int(broken.sum())} not finite",
            "during",
        ),
        Check(
            "the loss falls",
            staircase or float((improved | ~standing).float().mean()) >= 0.9,
            f"the margin fell for {int(improved.sum())} of {n} examples",
            "during",
        ),
        Check(
            "best iterate kept",
            True,
            f"{int(lost.sum())} of {n} examples were won on the way and not at the end; the game keeps the best",
            "during",
        ),
        Check(
            "steps enough",
            True,
            f"{int(moving.sum())} of {int(standing.sum())} standing examples still moved by more than {MOVED:.0%} of their "
            f"way in the last {LAST} of {STEPS} steps; whether more steps break more is tried afterwards",
            "during",
        ),
    ]


class _Watched(Wrapped):
    """A model that keeps its answers, and the norms of the gradients that pass through it."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.model, self.bounds = model, model.bounds
        self.asked: list[Tensor] = []
        self.norms: list[Tensor] = []

    def logits(self, x: Tensor) -> Tensor:
        answer = self.model.logits(x)
        if x.requires_grad and torch.is_grad_enabled():
            self.asked.append(answer.detach())
            x.register_hook(lambda g: self.norms.append(g.detach().flatten(1).norm(dim=1).cpu()))
        return answer

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(x)
