"""How hard it is to turn one class into another, from attacks and from saliency maps alone.

Papernot et al., "The limitations of deep learning in adversarial settings", EuroS&P 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from saddlepoint.core.model import Access, Model
from saddlepoint.metrics.robustness import pair_matrix

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class PairMatrices:
    """What attacks from every source to every target reached; NaN on the diagonal and where nothing was tried.

    Attributes:
        success: (classes, classes) success rates; row source, column target.
        distortion: (classes, classes) mean distortions.
    """

    success: Floats
    distortion: Floats


def pair_matrices(
    source: Classes, target: Classes, success: Bools, distortion: Floats, classes: int,
    over: Literal["successes", "all"] = "successes",
) -> PairMatrices:  # fmt: skip
    """Success rate and mean distortion of every (source, target).

    Args:
        source: (n,) classes of the clean inputs.
        target: (n,) classes that were aimed at.
        success: (n,) whether they were reached.
        distortion: (n,) shares of the features that changed, or any size.
        classes: number of classes.
        over: mean distortion of the "successes" only, or of "all" attempts.
    """
    tried = source != target
    counted = tried & success if over == "successes" else tried
    return PairMatrices(
        pair_matrix(source[tried], target[tried], success[tried].astype(np.float64), classes),
        pair_matrix(source[counted], target[counted], distortion[counted], classes),
    )


@dataclass(frozen=True)
class Hardness:
    """The integral of distortion over success rate, and the range of rates that was measured: nothing is extrapolated."""

    value: float
    low: float
    high: float


def hardness(success: Floats, distortion: Floats) -> Hardness:
    """H(s, t) of one source and target by trapezoids: how much distortion every further success costs.

    Args:
        success: (K,) success rates at K budgets, in any order; equal rates are merged to their mean distortion.
        distortion: (K,) mean distortions at those budgets; where it is NaN the budget is left out.

    Returns:
        A value of NaN when fewer than two different rates are left.
    """
    known = ~np.isnan(success) & ~np.isnan(distortion)
    rates, at = np.unique(success[known], return_inverse=True)
    if not len(rates):
        return Hardness(np.nan, np.nan, np.nan)
    means = np.bincount(at, distortion[known]) / np.bincount(at)
    value = float(np.trapezoid(means, rates)) if len(rates) > 1 else np.nan
    return Hardness(value, float(rates[0]), float(rates[-1]))


def hardness_matrix(budgets: Sequence[PairMatrices]) -> Floats:
    """(classes, classes) values of `hardness` of every pair over the budgets; NaN where there are fewer than two rates."""
    success, distortion = (np.stack([getattr(b, name) for b in budgets]) for name in ("success", "distortion"))
    return np.array(
        [
            [hardness(success[:, s, t], distortion[:, s, t]).value for t in range(len(row))]
            for s, row in enumerate(success[0])
        ]
    )


def adversarial_distance(
    model: Model, x: Float[Tensor, "b *shape"], target: Int[Tensor, " b"], batch: int = 256
) -> Float[Tensor, " b"]:
    """A(X, t): the share of features whose increase does not help, near 1 where no change seems to lead to the target.

    A feature helps when it raises the target's logit and lowers the sum of the others: the single-feature saliency map of
    the clean input, features at their bound included. It costs one forward and two backward passes.
    """
    model.require(Access.GRADIENTS, "adversarial_distance", "Measure the hardness with attacks on labels instead.")
    shares = []
    with torch.inference_mode(False), model.session(), torch.enable_grad():
        for part, toward in zip(x.split(batch), target.split(batch), strict=True):
            part = part.detach().clone().requires_grad_()
            logits = model.logits(part)
            wanted = logits.gather(1, toward[:, None]).sum()
            (alpha,) = torch.autograd.grad(wanted, part, retain_graph=True)
            (beta,) = torch.autograd.grad(logits.sum() - wanted, part)
            shares.append(1 - ((alpha > 0) & (beta < 0)).flatten(1).to(x.dtype).mean(1))
    return torch.cat(shares) if shares else x.new_zeros(0)


def robustness_quantiles(distance: Floats, shares: Sequence[float] = (0.0, 0.01, 0.05, 0.5)) -> dict[float, float]:
    """Quantiles of the adversarial distance over inputs and targets; that of 0 is the paper's R(F), their minimum.

    The minimum is one outlier; the others say whether it is alone.
    """
    return {share: float(np.quantile(distance, share)) for share in shares}
