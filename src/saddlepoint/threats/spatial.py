"""Moving the pixels of an image instead of changing them."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from saddlepoint.core.config import Radius, positional_record
from saddlepoint.core.threat import Batch
from saddlepoint.threats.parametric import Parametric, image_shape


@positional_record
class Spatial(Parametric):
    """Rotate about the middle of the image, then move it.

    Engstrom et al., "Exploring the landscape of spatial robustness", International Conference on Machine Learning, 2019.
    Theta (b, 3) holds rotation, downward and rightward move as shares of their limits. Bilinear; what enters the image from
    outside is `fill`.

    Attributes:
        rotation: largest angle either way, in degrees.
        translation: farthest move along each axis, in pixels.
        fill: value of what enters from outside, in input units.
    """

    rotation: Radius = 30.0
    translation: Radius = 3.0
    fill: float = 0.0

    def parameters(self, x: Batch) -> tuple[int, ...]:
        image_shape(self, x)
        return (3,)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        angle = theta[:, 0, None, None] * math.radians(self.rotation)
        down, right = (theta[:, i, None, None] * self.translation for i in (1, 2))
        rows, columns = positions(x)
        rows, columns = rows - down, columns - right
        source = columns * angle.cos() + rows * angle.sin(), rows * angle.cos() - columns * angle.sin()
        return sample(x - self.fill, *source, padding="zeros") + self.fill


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

    eps: Radius = 1.0
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
        return sample(x, columns + right, rows + down, padding="border")


def positions(x: Batch) -> tuple[Tensor, Tensor]:
    """(h, 1) and (1, w) pixel positions from the middle of the image."""
    h, w = x.shape[2:]
    rows = torch.arange(h, dtype=x.dtype, device=x.device) - (h - 1) / 2
    columns = torch.arange(w, dtype=x.dtype, device=x.device) - (w - 1) / 2
    return rows[:, None], columns[None]


def sample(x: Batch, columns: Tensor, rows: Tensor, *, padding: str) -> Tensor:
    """Bilinear values of (b, c, h, w) images at positions (b, h, w) from their middle, in pixels."""
    h, w = x.shape[2:]
    grid = torch.stack(torch.broadcast_tensors(columns * (2 / w), rows * (2 / h)), dim=-1)
    return grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)
