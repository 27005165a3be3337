"""Total variation minimization."""

import torch
from torch import Tensor, nn


class TotalVariation(nn.Module):
    """Drops random pixels, and replaces the image by the smoothest one that nearly agrees on the pixels that are left.

    Guo, Rana, Cisse and van der Maaten, "Countering adversarial images using input transformations", ICLR 2018: minimizes
    |mask * (z - x)|_2 + weight * TV(z), where TV sums the L2 norms of the differences of neighboring rows, and of columns.
    All images are solved at once, each with its own mask.

    Args:
        drop: chance that a pixel, with all its channels, is dropped.
        weight: of the variation.
        steps: of the solver.

    Deviations: solved by Adam from the mean of the neighbors that are left, not by the split Bregman method.
    """

    def __init__(self, drop: float = 0.5, weight: float = 0.03, steps: int = 60) -> None:
        super().__init__()
        self.drop, self.weight, self.steps = drop, weight, steps

    def forward(self, x: Tensor) -> Tensor:
        mask = (torch.rand_like(x[:, :1]) >= self.drop).to(x.dtype)
        x = x.detach()
        around = nn.functional.avg_pool2d(mask * x, 3, 1, 1) / nn.functional.avg_pool2d(mask, 3, 1, 1).clamp_min(1e-6)
        z = mask * x + (1 - mask) * around
        solver = torch.optim.Adam([z], lr=0.03)
        with torch.no_grad():
            for _ in range(self.steps):
                z.grad = self.slope(z, x, mask)
                solver.step()
        return z.clamp(0, 1)

    def slope(self, z: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """The gradient of what is minimized."""
        off = mask * (z - x)
        slope = off / _length(off.flatten(1))[..., None, None]
        rows, columns = z.diff(dim=2), z.diff(dim=3)
        rows = rows * (self.weight / _length(rows, 3))
        columns = columns * (self.weight / _length(columns, 2))
        slope[:, :, 1:] += rows
        slope[:, :, :-1] -= rows
        slope[..., 1:] += columns
        slope[..., :-1] -= columns
        return slope

    def extra_repr(self) -> str:
        return f"drop={self.drop}, weight={self.weight}, steps={self.steps}"


def total_variation(z: Tensor) -> Tensor:
    """(b,) the norms of the differences of neighboring rows, and of neighboring columns, summed."""
    return _length(z.diff(dim=2), 3).sum((1, 2, 3)) + _length(z.diff(dim=3), 2).sum((1, 2, 3))


def _length(v: Tensor, dim: int = 1) -> Tensor:
    """L2 norm along an axis that stays, smooth at zero."""
    return (v.square().sum(dim, keepdim=True) + 1e-6).sqrt()
