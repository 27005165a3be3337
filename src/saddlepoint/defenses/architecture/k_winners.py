"""k winners take all."""

from torch import Tensor, nn


class KWinners(nn.Module):
    """Keeps the k largest activations of a layer, and sets all others to zero.

    Xiao, Zhong and Zheng, "Enhancing adversarial defense by k-winners-take-all", ICLR 2020. In place of ReLU, in a network
    trained with it. As a function of the input it jumps so often that a gradient says nothing about the next step.

    Args:
        share: of the layer's activations that are kept, k = share * n, at least one.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def forward(self, h: Tensor) -> Tensor:
        flat = h.flatten(1)
        top = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1)
        return flat.new_zeros(flat.shape).scatter(1, top.indices, top.values).view_as(h)

    def extra_repr(self) -> str:
        return f"share={self.share}"
