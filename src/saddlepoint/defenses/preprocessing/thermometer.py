"""Thermometer encoding."""

import torch
from torch import Tensor, nn


class Thermometer(nn.Module):
    """Each channel becomes `levels` bits, of which bit k = 1 ... levels is 1 where the pixel is above k / levels.

    Buckman, Roy, Raffel and Goodfellow, "Thermometer encoding: one hot way to resist adversarial examples", ICLR 2018.
    The code is a staircase, so its gradient is zero. The attack climbs a `ramp` instead.

    Args:
        levels: bits a channel.

    Deviations: the last bit is always 0, as in the paper's formula; the authors' code has a first bit that is always 1.
    """

    def __init__(self, levels: int = 10) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return self._heights(x).clamp(0, 1).ceil().flatten(1, 2)

    def ramp(self, x: Tensor) -> Tensor:
        """A slope in place of each stair, two stairs wide, so that from any pixel the next bit up or down is in sight."""
        return ((self._heights(x) + 1) / 2).clamp(0, 1).flatten(1, 2)

    def _heights(self, x: Tensor) -> Tensor:
        """(b, c, levels, h, w): how far above its stair each pixel is, in stairs."""
        stairs = torch.arange(1, self.levels + 1, dtype=x.dtype, device=x.device)
        return self.levels * x[:, :, None] - stairs[:, None, None]

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
