"""Local intrinsic dimensionality, and a detector made of it."""

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from saddlepoint.core.errors import InputError


def lid(queries: Tensor, reference: Tensor, neighbors: int = 20, *, itself: bool = False) -> Tensor:
    """(b,) the maximum-likelihood estimate of the local dimension of `reference` (n, d) around each of `queries` (b, d).

    -1 / mean(log(r_i / r_k)) over the distances r_1 ... r_k of the k nearest.

    Args:
        queries: where.
        reference: points of the manifold.
        neighbors: k.
        itself: the queries are among the reference, so the nearest point is no neighbor.
    """
    if neighbors + itself > len(reference) or neighbors < 2:
        raise InputError(f"{neighbors} neighbors need as many other points, and at least 2; got {len(reference)} in all.")
    distances = torch.cdist(queries, reference).topk(neighbors + itself, dim=1, largest=False, sorted=True).values
    near = distances[:, int(itself) :].clamp_min(1e-12)
    return -1 / (near / near[:, -1:]).log().mean(1).clamp_max(-1e-6)


def activations(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The input and the output of every layer, (b, d) each, in order of use."""
    seen = [x.flatten(1)]
    layers = [module for module in net.modules() if not any(True for _ in module.children())]
    hooks = [layer.register_forward_hook(lambda _, __, out: seen.append(out.flatten(1))) for layer in layers]
    try:
        net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@dataclass(frozen=True)
class Fitted:
    """A logistic regression on the dimension at every layer.

    Attributes:
        net: whose layers.
        reference: (n, *shape) clean inputs that all others are compared with.
        neighbors: k.
        mean, std: (layers,) of the features it was fitted on.
        weight, bias: of the regression on standardized features.
    """

    net: nn.Module
    reference: Tensor
    neighbors: int
    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: float

    def features(self, x: Tensor) -> Tensor:
        """(b, layers) dimension around x at every layer."""
        with torch.no_grad():
            known = activations(self.net, self.reference.to(x))
        pairs = zip(activations(self.net, x), known, strict=True)
        return torch.stack([lid(q, r, self.neighbors) for q, r in pairs], 1)

    def score(self, x: Tensor) -> Tensor:
        """(b,) log-odds of being adversarial; differentiable."""
        return (self.features(x) - self.mean.to(x)) / self.std.to(x) @ self.weight.to(x) + self.bias

    def threshold(self, x: Tensor, rejected: float = 0.05) -> float:
        """The score that a share of these clean inputs is above."""
        with torch.no_grad():
            return float(self.score(x).quantile(1 - rejected))


@dataclass(frozen=True)
class LID:
    """The detector of Ma et al., "Characterizing adversarial subspaces using local intrinsic dimensionality", ICLR 2018.

    Adversarial inputs are said to lie where the data around them have more dimensions. It is good at telling apart small
    steps over the boundary; inputs that are wrong with high confidence look clean to it.

    Attributes:
        neighbors: k of the estimate.
        reference: clean inputs of the minibatch that others are compared with.
        seed: of the noise.

    Deviations: one fixed minibatch of clean inputs that are not themselves fitted on, in place of each batch's own; so no
    distance of an input to its own clean copy has to be left out. The network runs in evaluation mode.
    """

    neighbors: int = 20
    reference: int = 100
    seed: int = 0

    def fit(self, model: Any, x: Tensor, x_adv: Tensor) -> Fitted:
        """Learn to tell adversarial inputs from clean and noisy ones.

        Args:
            model: a torch module, or a TorchModel of inputs in [0, 1].
            x: (n, *shape) clean inputs, of which the first `reference` become the minibatch.
            x_adv: (n, *shape) for each of them an adversarial one. The noise has the same L2 norm.
        """
        if x.shape != x_adv.shape or len(x) <= self.reference:
            raise InputError(
                f"x and x_adv must have one shape and more than {self.reference} rows; got {tuple(x.shape)} and "
                f"{tuple(x_adv.shape)}. Give every clean input and its adversarial one."
            )
        net = (model if isinstance(model, nn.Module) else model.net).eval()
        rest = slice(self.reference, None)
        clean, adversarial = x[rest], x_adv[rest]
        drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed)).to(x)
        length = (adversarial - clean).flatten(1).norm(dim=1) / drawn.flatten(1).norm(dim=1)
        noisy = (clean + drawn * length.view(-1, *(1,) * (x.dim() - 1))).clamp(0, 1)
        zero = torch.zeros(())
        raw = Fitted(net, x[: self.reference], self.neighbors, zero, zero + 1, zero, 0.0)
        with torch.no_grad():
            features = torch.cat([raw.features(part) for part in (clean, noisy, adversarial)])
        mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
        wanted = torch.arange(3).repeat_interleave(len(clean)) == 2
        found = LogisticRegression(class_weight="balanced", max_iter=1000).fit(
            ((features - mean) / std).numpy(force=True), wanted.numpy()
        )
        weight = torch.as_tensor(found.coef_[0], dtype=x.dtype)
        return Fitted(net, x[: self.reference], self.neighbors, mean, std, weight, float(found.intercept_[0]))
