"""Networks that compute with few bits."""

from torch import Tensor, nn

from saddlepoint.defenses.architecture.layers import replaced


class Rounded(nn.Module):
    """Activations rounded to multiples of a step, up to a largest one: their gradient is zero.

    Args:
        step: between neighboring values.
        levels: above zero.
        straight: pass gradients on as if nothing was rounded or cut off.
    """

    def __init__(self, step: float = 0.25, levels: int = 15, straight: bool = False) -> None:
        super().__init__()
        self.step, self.levels, self.straight = step, levels, straight

    def forward(self, h: Tensor) -> Tensor:
        rounded = (h / self.step).round().clamp(0, self.levels) * self.step
        return h + (rounded - h).detach() if self.straight else rounded

    def extra_repr(self) -> str:
        return f"step={self.step}, levels={self.levels}, straight={self.straight}"


def quantized(net: nn.Module, step: float = 0.25, levels: int = 15, *, straight: bool = False) -> nn.Module:
    """A copy of a network of ReLUs whose activations are rounded.

    Galloway, Taylor and Moussa, "Attacking binarized neural networks", ICLR 2018, on why this looks robust.
    """
    return replaced(net, nn.ReLU, lambda relu: nn.Sequential(relu, Rounded(step, levels, straight)))
