"""Image quilting."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold


class Quilting(nn.Module):
    """Rebuilds an image of patches from clean ones, so that nothing of the input itself is left.

    Guo, Rana, Cisse and van der Maaten, "Countering adversarial images using input transformations", ICLR 2018, after Efros
    and Freeman, "Image quilting for texture synthesis and transfer", SIGGRAPH 2001. The image is tiled by overlapping
    squares. For each, one of the `nearest` patches of the database is drawn at random, and is pasted along the seam where
    it differs least from what is there.

    Args:
        patches: (n, c, side, side) the database.
        overlap: of neighboring squares, in pixels.
        nearest: patches to draw from.

    Deviations: patches are compared directly, without a principal component analysis; what does not fill the grid is padded
    at the lower right, and cut off again.
    """

    patches: Tensor

    def __init__(self, patches: Tensor, overlap: int = 2, nearest: int = 10) -> None:
        super().__init__()
        self.register_buffer("patches", patches, persistent=False)
        self.overlap, self.nearest, self.side = overlap, nearest, patches.shape[-1]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        stride = self.side - self.overlap
        x = pad(x, (0, -(width - self.side) % stride, 0, -(height - self.side) % stride), mode="replicate")
        tiles = self._drawn(x, stride)
        quilt = torch.zeros_like(x)
        place = 0
        for top in range(0, x.shape[2] - self.side + 1, stride):
            for left in range(0, x.shape[3] - self.side + 1, stride):
                here = quilt[:, :, top : top + self.side, left : left + self.side]
                here.copy_(self._pasted(here, tiles[:, place], top > 0, left > 0))
                place += 1
        return quilt[:, :, :height, :width]

    def _drawn(self, x: Tensor, stride: int) -> Tensor:
        """(b, places, c, side, side): for every place a patch that is drawn from the nearest."""
        with torch.no_grad():
            seen = unfold(x, self.side, stride=stride).transpose(1, 2)
            known = self.patches.flatten(1).to(x)
            indices = []
            for part in seen.flatten(0, 1).split(2048):
                distance = known.square().sum(1) - 2 * part @ known.T  # less what is the same for all patches
                near = distance.topk(self.nearest, dim=1, largest=False).indices
                draw = torch.randint(self.nearest, (len(part), 1), device=x.device)
                indices.append(near.gather(1, draw).squeeze(1))
            return self.patches[torch.cat(indices)].to(x).unflatten(0, seen.shape[:2])

    def _pasted(self, old: Tensor, new: Tensor, above: bool, before: bool) -> Tensor:
        """The new patch over the old picture (b, c, side, side), cut where both differ least."""
        keep = torch.zeros_like(old[:, 0], dtype=torch.bool)
        error = (old - new).square().sum(1)
        if before:
            keep[:, :, : self.overlap] |= seam(error[:, :, : self.overlap])
        if above:
            keep[:, : self.overlap] |= seam(error[:, : self.overlap].transpose(1, 2)).transpose(1, 2)
        return torch.where(keep[:, None], old, new)

    def extra_repr(self) -> str:
        return f"patches={tuple(self.patches.shape)}, overlap={self.overlap}, nearest={self.nearest}"


def seam(error: Tensor) -> Tensor:
    """What lies left of the path of least error from the top to the bottom of (b, length, width), as a mask."""
    length, width = error.shape[1:]
    cost = [error[:, 0]]
    for row in range(1, length):
        best = pad(cost[-1], (1, 1), value=torch.inf).unfold(1, 3, 1).amin(2)
        cost.append(error[:, row] + best)
    columns = torch.arange(width, device=error.device)
    at = cost[-1].argmin(1)
    path = [at]
    for row in range(length - 2, -1, -1):
        near = (columns - at[:, None]).abs() <= 1
        at = cost[row].masked_fill(~near, torch.inf).argmin(1)
        path.append(at)
    return columns < torch.stack(path[::-1], 1)[:, :, None]


def patches_of(x: Tensor, count: int, side: int = 5, seed: int = 0) -> Tensor:
    """(count, c, side, side): random squares of random images."""
    draw = torch.Generator().manual_seed(seed)
    image = torch.randint(len(x), (count,), generator=draw)
    top = torch.randint(x.shape[2] - side + 1, (count, 1, 1), generator=draw) + torch.arange(side)[:, None]
    left = torch.randint(x.shape[3] - side + 1, (count, 1, 1), generator=draw) + torch.arange(side)
    return x.movedim(1, -1)[image[:, None, None], top, left].movedim(-1, 1)
