"""JPEG compression."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

LUMINANCE = """
    16 11 10 16 24 40 51 61   12 12 14 19 26 58 60 55   14 13 16 24 40 57 69 56   14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77   24 35 55 64 81 104 113 92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103 99
"""
CHROMINANCE = """
    17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class JPEG(nn.Module):
    """Images as they are after one round of JPEG: cosine coefficients of blocks of 8 x 8, divided by a table and rounded.

    Guo, Rana, Cisse and van der Maaten, "Countering adversarial images using input transformations", ICLR 2018. Only the
    lossy part of the codec, for one or three channels, with the tables of the standard. Rounding has a zero gradient.

    Args:
        quality: 1 to 100, as in libjpeg.

    Deviations: colors are not sampled at half the resolution, as in a file written with "4:4:4".
    """

    def __init__(self, quality: int = 75) -> None:
        super().__init__()
        self.quality = quality
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        for name, table in (("luminance", LUMINANCE), ("chrominance", CHROMINANCE)):
            base = torch.tensor([float(n) for n in table.split()]).view(8, 8)
            self.register_buffer(name, ((base * scale + 50) / 100).floor().clamp(1, 255), persistent=False)
        k, n = torch.arange(8.0)[:, None], torch.arange(8.0)
        cosines = (math.pi * (2 * n + 1) * k / 16).cos() / 2
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("colors", torch.tensor(YCBCR), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pixels = (x * 255).round()
        if x.shape[1] == 3:
            pixels = torch.einsum("ij,bjhw->bihw", self.colors.to(x), pixels) + pixels.new_tensor([0, 128, 128]).view(
                3, 1, 1
            )
        blocks = pad(pixels.round() - 128, (0, -width % 8, 0, -height % 8), mode="replicate")
        blocks = blocks.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # (b, c, rows, columns, 8, 8)
        tables = torch.stack([self.luminance, self.chrominance, self.chrominance])[: x.shape[1], None, None].to(x)
        cosines = self.cosines.to(x)
        kept = (cosines @ blocks @ cosines.T / tables).round() * tables
        back = (cosines.T @ kept @ cosines).transpose(3, 4).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        back = (back + 128).round().clamp(0, 255)
        if x.shape[1] == 3:
            back = back - back.new_tensor([0, 128, 128]).view(3, 1, 1)
            back = torch.einsum("ij,bjhw->bihw", self.colors.to(x).inverse(), back).round()
        return back.clamp(0, 255) / 255

    def extra_repr(self) -> str:
        return f"quality={self.quality}"
