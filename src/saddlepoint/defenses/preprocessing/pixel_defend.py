"""PixelDefend: purification by an autoregressive model."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, pad


class PixelCNN(nn.Module):
    """The chances of each pixel's gray level, given the pixels before it: above, or left in its row, up to `reach` away.

    One masked convolution and two layers of one pixel, so that a pixel's chances cost as much as a small dense network,
    and sampling or purifying a whole image no more than one pass of it. Far smaller than the paper's, and enough for
    digits.

    Args:
        levels: gray levels.
        reach: how many pixels up, left and right a pixel looks.
        width: of the hidden layers.
    """

    seen: Tensor

    def __init__(self, levels: int = 16, reach: int = 5, width: int = 64) -> None:
        super().__init__()
        self.levels, self.reach = levels, reach
        self.first = nn.Linear((reach + 1) * (2 * reach + 1), width)
        self.rest = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, levels))
        seen = torch.ones(reach + 1, 2 * reach + 1)
        seen[reach, reach:] = 0
        self.register_buffer("seen", seen, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, h, w, levels) for images (b, 1, h, w)."""
        reach = self.reach
        kernel = (self.first.weight * self.seen.flatten()).view(-1, 1, *self.seen.shape)
        hidden = conv2d(self.padded(x), kernel, self.first.bias)
        return self.rest(hidden.movedim(1, -1)[:, : x.shape[2], : x.shape[3]]) if reach else self.rest(hidden.movedim(1, -1))

    def at(self, canvas: Tensor, row: int, column: int) -> Tensor:
        """Logits (b, levels) of one pixel of a `padded` canvas."""
        before = canvas[:, 0, row : row + self.reach + 1, column : column + 2 * self.reach + 1]
        return self.rest(self.first((before * self.seen).flatten(1)))

    def padded(self, x: Tensor) -> Tensor:
        """The images in a frame of black, wide enough for every pixel's view."""
        return pad(x, (self.reach, self.reach, self.reach, 0))

    def loss(self, x: Tensor) -> Tensor:
        """Mean negative log-likelihood of a pixel."""
        levels = (x * (self.levels - 1)).round()
        return cross_entropy(self(levels / (self.levels - 1)).flatten(0, 2), levels.flatten().long())

    def extra_repr(self) -> str:
        return f"levels={self.levels}, reach={self.reach}"


class PixelDefend(nn.Module):
    """Moves an image toward what is likely: pixel by pixel to the likeliest gray level that is at most `radius` away.

    Song, Kim, Nowozin, Ermon and Kushman, "PixelDefend: leveraging generative models to understand and defend against
    adversarial examples", ICLR 2018. Each choice is made in the light of the choices before it. Only for one channel.

    Args:
        likely: the model of clean images, trained already.
        radius: furthest that a pixel is moved, above half a gray level.

    Deviations: a shallow model of 16 gray levels; images are not first tested for being unlikely.
    """

    def __init__(self, likely: PixelCNN, radius: float = 0.1) -> None:
        super().__init__()
        self.likely, self.radius = likely, radius

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        canvas, values = self.likely.padded(x), torch.linspace(0, 1, self.likely.levels, dtype=x.dtype, device=x.device)
        reach = self.likely.reach
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                far = (values - x[:, 0, row, column, None]).abs() > self.radius
                choice = self.likely.at(canvas, row, column).masked_fill(far, -torch.inf).argmax(1)
                canvas[:, 0, row + reach, column + reach] = values[choice]
        return canvas[:, :, reach:, reach:-reach]

    def extra_repr(self) -> str:
        return f"radius={self.radius}"
