"""Changing light and color of a whole image."""

import math

import torch
from torch import Tensor

from saddlepoint.core.config import positional_record
from saddlepoint.core.threat import Batch
from saddlepoint.threats.parametric import Limit, Parametric, image_shape

# Luma and the two chroma axes of the NTSC standard, in which turning the hue is turning a plane.
YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@positional_record
class Color(Parametric):
    """Change brightness and contrast of an image and, where it has three channels, hue and saturation.

    Theta (b, 4), or (b, 2) for images without color, holds the shares of the limits in the order of the attributes. Zeng et
    al. ("Adversarial attacks beyond the image space", 2019) attack such parameters of a scene; Hosseini and Poovendran
    ("Semantic adversarial examples", 2018) hue and saturation.

    Attributes:
        brightness: largest amount added to the luma, in input units.
        contrast: largest relative change of the distances to the mean luma.
        hue: largest turn of the hue, in degrees.
        saturation: largest relative change of the chroma.
    """

    brightness: Limit = 0.2
    contrast: Limit = 0.3
    hue: Limit = 30.0
    saturation: Limit = 0.3

    def parameters(self, x: Batch) -> tuple[int, ...]:
        return (4,) if image_shape(self, x)[0] == 3 else (2,)

    def apply(self, x: Batch, theta: Tensor) -> Tensor:
        share = theta[:, :, None, None, None]
        if x.shape[1] != 3:
            return self.lit(x, share[:, 0], share[:, 1])
        to_yiq = torch.tensor(YIQ, dtype=x.dtype, device=x.device)
        luma, chroma = torch.einsum("ij,bjhw->bihw", to_yiq, x).split((1, 2), dim=1)
        angle = share[:, 2] * math.radians(self.hue)
        first, second = chroma.split(1, dim=1)
        turned = torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=1)
        changed = torch.cat([self.lit(luma, share[:, 0], share[:, 1]), turned * (1 + self.saturation * share[:, 3])], dim=1)
        return torch.einsum("ij,bjhw->bihw", to_yiq.inverse(), changed)

    def lit(self, luma: Batch, brightness: Tensor, contrast: Tensor) -> Tensor:
        """Luma with brightness and contrast changed."""
        middle = luma.mean(dim=(1, 2, 3), keepdim=True)
        return middle + (luma - middle) * (1 + self.contrast * contrast) + self.brightness * brightness
