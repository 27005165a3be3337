"""Universal adversarial perturbations."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from saddlepoint.attacks.learned.perturbation import UAP_PAPER
from saddlepoint.attacks.learned.universal import Lesson, Universal
from saddlepoint.attacks.minimum_norm.deepfool import DeepFool
from saddlepoint.core.attack import Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.noise import Noise
from saddlepoint.threats import L2


@record
class UAP(Universal):
    """Sum up the smallest changes that fool inputs not yet fooled, staying within the radius, pass after pass.

    The first universal attack, and the name of the kind. `UniversalPGD` fools more inputs for a fraction of the passes;
    this one is for comparison with the literature. It is no attack on a single input: `DeepFool`, which it is made of, is.

    Attributes:
        epochs: passes over the inputs, at most.
        fooling_rate: share of the inputs to fool; learning stops there. One minus the paper's delta.
        batch: inputs whose changes are added at once; 1 is the paper's order, and dear.
        steps: of DeepFool, at most; an input that withstands them teaches nothing.
        candidates: how many of the likeliest classes DeepFool considers, the answer itself included.
        overshoot: of DeepFool, how far beyond the boundary, relative to the whole change.

    Deviations: the changes of a mini-batch are found together and then added. Inputs are clipped to the bounds while
    learning, as when played. The best change after a whole pass is kept, not the last. Labels play no part, as in the
    paper: an untargeted goal is to leave the model's own answer to the clean input.
    """

    paper: ClassVar = UAP_PAPER
    epochs: Count = 10
    fooling_rate: Share = 0.8
    batch: Count = 32
    steps: Count = 10
    candidates: Annotated[int, Field(ge=2)] = 10
    overshoot: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.02

    def improve(self, lesson: Lesson, rows: Tensor) -> None:
        x, goal = lesson.changed(rows), lesson.goal.select(rows)
        search = DeepFool(steps=self.steps, candidates=self.candidates, overshoot=self.overshoot, bisections=0)
        noise = Noise(0, rows)  # DeepFool draws nothing
        game = Game(
            lesson.model, x, goal, L2(torch.inf), noise=noise, seeks=Seeks.MINIMUM, stop=Stop.FIRST_WIN, chunk=len(x)
        )  # fmt: skip
        game.play(search)  # inputs that are fooled already take no part
        lesson.forwards += game.forwards
        lesson.backwards += game.backwards
        lesson.move((game.all.best - x)[game.all.won].sum(0, keepdim=True))
