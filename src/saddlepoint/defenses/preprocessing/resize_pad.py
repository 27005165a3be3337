"""Random resizing and padding."""

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample


class ResizePad(nn.Module):
    """Each image is resized to a random side in [low, high] and put at a random place of a black square of side `side`.

    Xie, Wang, Zhang, Ren and Yuille, "Mitigating adversarial effects through randomization", ICLR 2018, who took images of
    299 pixels to 299 ... 330, and padded to 331. Every image draws its own side and place.

    Args:
        low: smallest side of the resized image, in pixels.
        high: largest.
        side: of the padded image.

    Deviations: resizing is bilinear, in the same resampling that pads.
    """

    def __init__(self, low: int = 28, high: int = 32, side: int = 32) -> None:
        super().__init__()
        self.low, self.high, self.side = low, high, side

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        size = torch.randint(self.low, self.high + 1, (b,), device=x.device).to(x.dtype)
        corner = (torch.rand(b, 2, device=x.device, dtype=x.dtype) * (self.side - size + 1)[:, None]).floor()
        zoom = self.side / size  # in the units of a grid, in which an image reaches from -1 to 1
        shift = zoom[:, None] - 1 - 2 * corner / size[:, None]
        theta = torch.zeros(b, 2, 3, device=x.device, dtype=x.dtype)
        theta[:, 0, 0] = theta[:, 1, 1] = zoom
        theta[:, :, 2] = shift
        grid = affine_grid(theta, [b, x.shape[1], self.side, self.side], align_corners=False)
        return grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}, side={self.side}"
