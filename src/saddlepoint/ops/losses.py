"""Losses of logits for class `y`, as the defender sees them: large while `y` is the answer, negative margin once not.

Logits are (..., k) and `y` is (...,); every loss returns (...,). None depends on a shift. Only
`log_probability` saturates.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "*batch k"]
Labels = Int[Tensor, "*batch"]
Loss = Float[Tensor, "*batch"]


def of_class(logits: Logits, y: Labels) -> Loss:
    """The logit of class `y`."""
    return logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)


def without(logits: Logits, y: Labels) -> Logits:
    """The logits with class `y` set to minus infinity."""
    return logits.scatter(-1, y.unsqueeze(-1), -torch.inf)


def margin(logits: Logits, y: Labels) -> Loss:
    """Logit of `y` minus the largest other: negative exactly when another class wins."""
    y = y.unsqueeze(-1)
    return (logits.gather(-1, y) - logits.scatter(-1, y, -torch.inf).amax(dim=-1, keepdim=True)).squeeze(-1)


def tie(margin: Tensor) -> float:
    """How far from zero a margin on the natural scale may be by rounding: another batch, another sum may turn its sign."""
    return 100 * torch.finfo(margin.dtype).eps


def unanswered(logits: Logits) -> Bool[Tensor, "*batch"]:
    """Rows without an answer: NaN or plus infinity somewhere. Minus infinity only rules a class out."""
    return ~(logits.amax(dim=-1) < torch.inf)


def log_odds(logits: Logits, y: Labels) -> Loss:
    """log(p_y / (1 - p_y)).

    Its gradient is that of the cross entropy divided by 1 - p_y: the same direction in every row, and not zero where
    a saturated softmax rounds p_y to one.
    """
    return of_class(logits, y) - without(logits, y).logsumexp(dim=-1)


def log_probability(logits: Logits, y: Labels) -> Loss:
    """log(p_y), the negative of the cross entropy as it is commonly computed: flat where the softmax saturates."""
    return of_class(logits.log_softmax(dim=-1), y)


def ratio(difference: Loss, logits: Logits) -> Loss:
    """Difference of logits ratio: divide a difference of logits by the spread of the largest three.

    Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020. With two classes the ratio is a constant and has no gradient, so the difference itself is returned.
    """
    if logits.shape[-1] < 3:
        return difference
    top = logits.topk(3, dim=-1).values
    return difference / (top[..., 0] - top[..., 2] + 1e-12)


def targeted_ratio(difference: Loss, logits: Logits) -> Loss:
    """The same for an attack toward one class: the spread is from the first to the mean of the third and fourth."""
    if logits.shape[-1] < 4:
        return ratio(difference, logits)
    top = logits.topk(4, dim=-1).values
    return difference / (top[..., 0] - top[..., 2:].mean(dim=-1) + 1e-12)
