"""Moving the pixels of an image instead of changing them."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, pad

from saddlepoint.core.config import positional_record
from saddlepoint.core.threat import Batch
from saddlepoint.threats.parametric import Amount, Limit, Parametric, image_shape

EDGE = 1e-8  # squared pixels: with it, the flow loss has a slope where neighbors move alike


@positional_record
class Spatial(Parametric):
    """Rotate about the middle of the image, then move it.

    Engstrom et al., "Exploring the landscape of spatial robustness", International Conference on Machine Learning, 2019.
    Theta (b, 3) holds clockwise rotation, downward and rightward move as shares of their limits. Bilinear; what enters the
    image from outside is `fill`.

    Attributes:
        rotation: largest angle either way, in degrees.
        translation: farthest move along each axis, in pixels.
        fill: value of what enters from outside, in input units.
    """

    rotation: Limit = 30.0
    translation: Limit = 3.0
    fill: Amount = 0.0

    def parameters(self, x: Batch) -> tuple[int, ...]:
        image_shape(self, x)
        return (3,)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        angle = theta[:, 0, None, None] * math.radians(self.rotation)
        down, right = (theta[:, i, None, None] * self.translation for i in (1, 2))
        rows, columns = positions(x)
        rows, columns = rows - down, columns - right
        source = columns * angle.cos() + rows * angle.sin(), rows * angle.cos() - columns * angle.sin()
        return sample(pad(x, (1, 1, 1, 1), value=self.fill), *source)


@positional_record
class Flow(Parametric):
    """Every pixel is taken from a place up to `eps` pixels away.

    Xiao et al., "Spatially transformed adversarial examples", International Conference on Learning Representations, 2018.
    Theta (b, 2, h, w) holds the downward and rightward displacement as shares of `eps`. With `cells` it is a coarse field
    (b, 2, cells, cells) between whose corners the flow is bilinear: smoother, and few enough parameters for any search.

    Attributes:
        eps: largest displacement along each axis, in pixels.
        cells: control points along each axis; 0 for one a pixel.
    """

    eps: Limit = 1.0
    cells: Annotated[int, Field(ge=0)] = 0

    def parameters(self, x: Batch) -> tuple[int, ...]:
        _, h, w = image_shape(self, x)
        return (2, self.cells or h, self.cells or w)

    def field(self, x: Batch, theta: Tensor) -> Tensor:
        """(b, 2, h, w) displacements in pixels."""
        if theta.shape[2:] == x.shape[2:]:
            return theta * self.eps
        return interpolate(theta, size=x.shape[2:], mode="bilinear", align_corners=True) * self.eps

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        down, right = self.field(x, theta).unbind(1)
        rows, columns = positions(x)
        return sample(x, columns + right, rows + down)

    def roughness(self, x: Batch, theta: Tensor) -> Tensor:
        """(b,) the flow loss of the paper: distances, in pixels, from each displacement to those of its four neighbors."""
        flow = self.field(x, theta)
        down, right = ((flow.diff(dim=axis).square().sum(1) + EDGE).sqrt().flatten(1).sum(1) for axis in (2, 3))
        return 2 * (down + right)  # every pair is a neighbor twice


def positions(x: Batch) -> tuple[Tensor, Tensor]:
    """(h, 1) and (1, w) pixel positions from the middle of the image."""
    h, w = x.shape[2:]
    rows = torch.arange(h, dtype=x.dtype, device=x.device) - (h - 1) / 2
    columns = torch.arange(w, dtype=x.dtype, device=x.device) - (w - 1) / 2
    return rows[:, None], columns[None]


def sample(x: Batch, columns: Tensor, rows: Tensor) -> Tensor:
    """Bilinear values of (b, c, h, w) images at positions (b, *grid) from their middle, in pixels.

    Outside, the border goes on. Exact at pixels, where `grid_sample` rounds: no change is none, and a whole move a shift.
    """
    h, w = x.shape[2:]
    (top, down), (left, right) = corner(rows, h), corner(columns, w)
    values, first = x.flatten(2), top * w + left

    def at(step: int) -> Tensor:
        places = (first + step).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        return values.gather(2, places).unflatten(2, first.shape[1:])

    below, beside = w * (h > 1), int(w > 1)
    upper, lower = (torch.lerp(at(step), at(step + beside), right) for step in (0, below))
    return torch.lerp(upper, lower, down)


def corner(at: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """For positions (b, *grid) on an axis of n pixels: the pixel before them, and the share of the way to the next."""
    at = (at + (n - 1) / 2).clamp(0, n - 1)
    first = at.detach().floor().clamp_max(max(n - 2, 0))
    return first.long(), (at - first)[:, None]
