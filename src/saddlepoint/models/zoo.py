"""Small networks that train in seconds on a CPU."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions and two linear layers, for images of about 28 x 28 pixels.

    Args:
        shape: (channels, height, width) of an input.
        classes: number of classes.
        width: channels of the first convolution; the others have twice as many.
    """

    def __init__(self, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10, width: int = 16) -> None:
        super().__init__()
        channels, height, wide = shape
        cells = -(-height // 4) * -(-wide // 4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(2 * width * cells, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
