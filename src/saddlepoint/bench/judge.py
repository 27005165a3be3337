"""One judge for all, who believes no library what it says of itself."""

import torch
from torch import Tensor, nn

from saddlepoint.bench.case import CLASSES, Goal, inf


def distances(delta: Tensor, norm: float) -> Tensor:
    """(n,) the norm of each row of (n, *shape)."""
    return delta.flatten(1).norm(p=norm, dim=1)


@torch.no_grad()
def judge(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    found: Tensor,
    *,
    norm: float | None,
    radius: float | None,
    goal: Goal = "untargeted",
) -> dict[str, float | None]:
    """Success rate and lower median distance of what an attack returned.

    What was found is clipped to [0, 1] and classified in float32. A row that is not finite, or lies outside the radius, is a
    failure; a failure is infinitely far. The median is None where it is infinite, or where there is no norm.

    Args:
        net: the network attacked.
        x: (n, *shape) clean inputs.
        y: (n,) labels.
        found: (n, *shape) what was returned for them.
        norm, radius, goal: as in `Case`.

    Raises:
        ValueError: what was found has another shape than x.
    """
    if found.shape != x.shape:
        raise ValueError(f"returned a tensor of shape {tuple(found.shape)} for inputs of shape {tuple(x.shape)}")
    found = found.detach().float()
    finite = found.flatten(1).isfinite().all(1)
    found = found.nan_to_num().clamp(0, 1)
    classes = net(found).argmax(1)
    success = finite & (classes == (y + 1) % CLASSES if goal == "targeted" else classes != y)
    median = None
    if norm is not None:
        distance = distances(found - x, norm)
        if radius is not None:
            success &= distance <= radius * (1 + 1e-5) + 1e-6
        middle = torch.where(success, distance, inf).quantile(0.5, interpolation="lower").item()
        median = round(middle, 6) if middle < inf else None
    return {"success": round(success.float().mean().item(), 6), "median": median}


@torch.no_grad()
def graded(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, float | None]:
    """The share of right answers of a network that was trained, as its success."""
    return {"success": round((net.eval()(x).argmax(1) == y).float().mean().item(), 6), "median": None}
