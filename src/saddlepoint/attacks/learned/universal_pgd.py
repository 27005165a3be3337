"""Universal perturbations by projected gradient descent."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from saddlepoint.attacks.learned.universal import EVERYWHERE, Lesson, Universal
from saddlepoint.core.answers import checked_logits
from saddlepoint.core.config import Count, Share, StepSize, record
from saddlepoint.core.errors import ModelError, out_of_memory
from saddlepoint.core.paper import Paper


@record
class UniversalPGD(Universal):
    """Momentum descent on one change shared by all inputs, a mini-batch a step; the strong and cheap universal attack.

    Each input's loss is a soft step: near 0 once it is fooled, near 1 while it is far from being so, steep between. Its
    mean is nearly the share not fooled, and inputs that cannot be fooled do not pull the others along; the cross entropy,
    in which they pull hardest, fools far fewer.

    Attributes:
        epochs: passes over the inputs, at most.
        fooling_rate: share of the inputs to fool; learning stops there. Below 1 all inputs are looked at after every pass,
            else from the half of them on: the best is hardly ever earlier.
        batch: inputs a step; small ones shake the search out of poor optima.
        step_size: in input units; None means the radius.
        momentum: how much of the running sum of gradients a step keeps.
        softness: width of the soft step, in logits of a natural scale (15 from the mean to the largest).

    Deviations: the paper bounds each input's loss by clipping the cross entropy. The gradient of a mini-batch is divided by
    its mean absolute value before it enters the running sum. Inputs are clipped to the bounds while learning, as when
    played. The best change after a whole pass of the second half is kept, not the last. An untargeted goal is to leave the
    model's own answer to the clean input, as fooling is measured, not the label.
    """

    paper: ClassVar = Paper(
        key="shafahi2020universal",
        title="Universal Adversarial Training",
        authors="Shafahi, Ali and Najibi, Mahyar and Xu, Zheng and Dickerson, John and Davis, Larry S. and Goldstein, Tom",
        year=2020,
        venue="AAAI Conference on Artificial Intelligence",
        arxiv="1811.11304",
    )
    epochs: Count = 10
    fooling_rate: Share = 1.0
    batch: Count = 16
    step_size: StepSize | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    softness: StepSize = 1.0

    def improve(self, lesson: Lesson, rows: Tensor) -> None:
        gradient = self.gradient(lesson, rows)
        gradient = gradient / gradient.abs().mean().clamp_min(torch.finfo(gradient.dtype).tiny)
        lesson.velocity = self.momentum * lesson.velocity + gradient
        step_size = self.step_size or lesson.threat.reach
        nothing = torch.zeros_like(lesson.delta)
        lesson.move(step_size * lesson.threat.steepest(nothing, lesson.delta, lesson.velocity, EVERYWHERE))

    def gradient(self, lesson: Lesson, rows: Tensor) -> Tensor:
        """(1, *shape) of the mean loss of these rows, up to a factor; what is not finite counts as zero."""
        model, scale = lesson.model, lesson.scale.index_select(0, rows).unsqueeze(1)
        moved = (lesson.x.index_select(0, rows) + lesson.delta).requires_grad_()
        margin = lesson.goal.select(rows).margin(checked_logits(model.logits, moved.clamp(*model.bounds)) / scale)
        try:
            (gradient,) = torch.autograd.grad((self.slope(margin.detach()) * margin).sum(), moved)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ModelError(
                f"The model cannot be differentiated with respect to its input ({str(error).splitlines()[0]}). "
                "Learn on one that can, and play the result on this one."
            ) from error
        lesson.forwards += len(rows)
        lesson.backwards += len(rows)
        total = gradient.sum(0, keepdim=True)
        return total if total.isfinite().all() else gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).sum(0, keepdim=True)

    def slope(self, margin: Tensor) -> Tensor:
        """(b,) slopes of the soft steps, the logistic function's, up to a factor; in logarithms, so that none underflows."""
        at = margin / self.softness
        return (logsigmoid(at) + logsigmoid(-at)).nan_to_num(nan=-torch.inf).softmax(0)
