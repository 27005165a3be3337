"""Bit depth reduction."""

from torch import Tensor, nn


class BitDepth(nn.Module):
    """Each pixel becomes the nearest of 2^bits gray levels.

    Guo, Rana, Cisse and van der Maaten, "Countering adversarial images using input transformations", ICLR 2018, and Xu,
    Evans and Qi, "Feature squeezing", NDSS 2018. The gradient of rounding is zero.

    Args:
        bits: of a pixel that are left.

    Deviations: rounds, as Xu et al.; Guo et al. cut the lower bits off, which darkens the image.
    """

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        top = 2**self.bits - 1
        return (x * top).round() / top

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
