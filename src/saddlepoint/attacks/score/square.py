"""Square attack."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, Share, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.threats import L1, L2, Linf

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the window's share, after that many queries of 10 000
DRAWN = 16, 128  # windows of a row that are drawn together: twice as many every time, from the first to the second number
LEAST, MOST, AHEAD = 4, 16, 32  # proposals of a row that are looked at together where few are left, and of all of them
ASKED = 2 / 3  # about the share of proposals in Linf that would change something
FULL = 4.0  # times its length, a change of L2 norm is projected from: what the box cuts off, the other features make up for


@record
class Square(Attack):
    """Random search: repaint one square window of the change, keep it when the margin falls.

    The strongest score-based attack here per query, and blind to masked gradients: where it beats a gradient attack, that
    gradient attack was broken. On other inputs than (c, h, w) images the windows are runs of features.

    Attributes:
        steps: windows tried, one query each; none for a window that would change nothing.
        first_share: share of the features in the first window; it halves as in the paper's schedule for 10 000 queries.
        rescale: squeeze that schedule into `steps`; AutoAttack does not.

    In the L1 ball the bumps are sharper and heavier than there is room for, and the projection leaves of them what sticks
    out (Croce and Hein, "Mind the box", 2021).

    Deviations: every row draws its own window (the authors' code shares one in a batch). A window that would change nothing
    is let pass, where they color it anew. In the L1 and L2 balls all channels share what a window frees. In L2 the change
    is as long as the radius after the box has cut it, not before.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2, L1)
    slack: ClassVar = 2.0
    paper: ClassVar = Paper(
        key="andriushchenko2020square",
        title="Square Attack: a Query-Efficient Black-Box Adversarial Attack via Random Search",
        authors="Andriushchenko, Maksym and Croce, Francesco and Flammarion, Nicolas and Hein, Matthias",
        year=2020,
        venue="European Conference on Computer Vision",
        arxiv="1912.00049",
    )
    steps: Count = 5000
    first_share: Share = 0.8
    rescale: bool = True

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.steps + 2, 0

    def run(self, game: Game) -> Iterator[Rows]:
        c, h, w = as_image(game.x)
        linf = isinstance(game.threat, Linf)
        begin, propose = (linf_start, linf_proposals) if linf else (bump_start, bump_proposal)
        delta = begin(game, c, h, w)
        rows = Rows(delta=delta, lowest=game.margin(delta), k=torch.zeros_like(delta.flatten(1)[:, 0], dtype=torch.int64))
        if linf:
            ends = (game.project(torch.full_like(delta, side * game.threat.reach)) for side in (-1, 1))
            rows.low, rows.high = (end.view(-1, 1, c, h, w) for end in ends)
            rows.planned, rows.drawn = 0, DRAWN[0]
        windows = self.windows(torch.arange(self.steps + AHEAD + DRAWN[1], device=delta.device), h, w)
        tried = 0  # windows of a row, at most
        while True:
            if tried >= self.steps:
                game.retire(rows.k >= self.steps)
            rows = yield rows
            # What would be proposed next if nothing is accepted: in L2 and L1 windows of one size, so one at a time.
            room = game.room if linf else 1
            m = min(max(LEAST, AHEAD // len(rows.k)), MOST, int(room / ASKED))
            tried += m
            moved = propose(game, rows, m, windows)
            changes = (moved != rows.delta.unsqueeze(1)).flatten(2).amax(2)
            near = changes.cumsum(1) <= room if m > room else None
            where = changes if near is None else changes & near
            rows.lowest, place = game.ahead(moved, below=rows.lowest, where=where)
            accepted = place < m
            rows.k = rows.k + (place if near is None else place.minimum(near.sum(1))) + accepted
            better = accepted.nonzero().squeeze(1)
            rows.delta.index_copy_(0, better, moved[better, place.index_select(0, better)])

    def windows(self, k: Tensor, h: int, w: int) -> Tensor:
        """(n,) -> (n, 2) height and width of the window of query k, by the paper's schedule for 10 000; 0 after the last."""
        at = k * 10_000 // self.steps if self.rescale else k
        halvings = (at[:, None] > torch.tensor(HALVINGS, device=k.device)).sum(1)
        sizes = [window(self.first_share / 2**i, h, w) for i in range(len(HALVINGS) + 1)]
        return torch.tensor(sizes, device=k.device)[halvings] * (k < self.steps)[:, None]


def window(share: float, h: int, w: int) -> tuple[int, int]:
    """Height and width of a window of that share of the pixels, as square as the image allows."""
    side = max(1, round(math.sqrt(share * h * w)))
    height = min(side, h)
    return height, min(w, max(1, round(share * h * w / height))) if height < side else side


def below(u: Tensor, count: Tensor | int) -> Tensor:
    """Numbers from 0 to count - 1, of uniform ones."""
    return (u * count).floor().long()


def linf_start(game: Game, c: int, h: int, w: int) -> Tensor:
    """Vertical stripes of random sign, of the input's shape."""
    stripes = (game.threat.reach * game.noise.sign(c, 1, w, dtype=game.x.dtype)).expand(-1, c, h, w)
    return game.project(stripes.reshape(game.x.shape))


def linf_windows(game: Game, k: Tensor, windows: Tensor) -> Tensor:
    """(b, m, h + w + c) 1 for rows and columns in the windows of number k (b, m) and for channels that go up, else 0."""
    c, h, w = as_image(game.x)
    u = game.noise.numbered(k, 2 + c)
    sizes = zip((h, w), windows[k].unbind(2), u[..., :2].unbind(2), strict=True)
    sides = [stretch(below(share, n - size + 1), size, n) for n, size, share in sizes]
    return torch.cat([*sides, u[..., 2:] >= 0.5], dim=2).to(game.x.dtype)


def stretch(start: Tensor, size: Tensor, n: int) -> Tensor:
    """(*b, n) whether each of n cells is one of the `size` (*b,) that begin at `start`."""
    cell = torch.arange(n, device=start.device) - start[..., None]
    return (cell >= 0) & (cell < size[..., None])


def linf_proposals(game: Game, rows: Rows, m: int, windows: Tensor) -> Tensor:
    """(b, m, *shape) one end of the box a channel over the whole window, for a row's next m queries."""
    c, h, w = as_image(game.x)
    if rows.planned < m:
        k = rows.k[:, None] + torch.arange(rows.drawn, device=rows.k.device)
        rows.first, rows.plan, rows.planned = rows.k, linf_windows(game, k, windows), rows.drawn
        rows.drawn = min(2 * rows.drawn, DRAWN[1])
    rows.planned -= m  # no row comes further
    place = (rows.k - rows.first).unsqueeze(1) + torch.arange(m, device=rows.k.device)
    plan = rows.plan.gather(1, place.unsqueeze(2).expand(-1, -1, h + w + c))
    down, across, up = plan.split_with_sizes((h, w, c), 2)
    inside = (down.unsqueeze(3) * across.unsqueeze(2)).unsqueeze(2)
    # Shares of 0 and 1 are exact, and cheaper than `where`.
    color = torch.lerp(rows.low, rows.high, up.view(-1, m, c, 1, 1))
    return torch.lerp(rows.delta.view(-1, 1, c, h, w), color, inside).view(-1, m, *game.x.shape[1:])


def order(game: Game) -> int:
    """Of the norm: 1 or 2."""
    return 1 if isinstance(game.threat, L1) else 2


def bump(height: int, width: int, like: Tensor, p: int) -> Tensor:
    """(height, width) of unit norm: concentric rectangles of falling weight, positive in one half, negative in the other."""
    if height * width == 1:
        return like.new_ones(1, 1)
    if height == 1:
        return bump(width, 1, like, p).T
    half = height // 2
    pattern = torch.cat([peak(half, width, like, p), -peak(height - half, width, like, p)])
    return pattern / pattern.norm(p)


def peak(height: int, width: int, like: Tensor, p: int) -> Tensor:
    """(height, width): the sum of 1/k^2 over the rectangles of radius below k around the center that cover a cell.

    It is of 1/k^4 for the sharper peaks of the L1 ball.
    """
    ys = (torch.arange(height, device=like.device) - height // 2).abs()
    xs = (torch.arange(width, device=like.device) - width // 2).abs()
    ring = torch.maximum(ys[:, None], xs[None, :])
    rings = max(height, width) // 2 + 1
    weights = 1 / torch.arange(1, rings + 1, device=like.device, dtype=like.dtype) ** (2 if p == 2 else 4)
    return weights.flip(0).cumsum(0).flip(0)[ring.clamp_max(rings - 1)]


def bump_start(game: Game, c: int, h: int, w: int) -> Tensor:
    """A grid of five by five bumps of random sign, of the input's shape."""
    p, (low, high) = order(game), game.model.bounds
    height, width = max(1, h // 5), max(1, w // 5)
    down, across = min(5, h // height), min(5, w // width)
    signs = game.noise.sign(c, down, across, dtype=game.x.dtype)
    grid = torch.einsum("bcij,yx->bciyjx", signs, bump(height, width, game.x, p))
    grid = grid.reshape(len(signs), c, down * height, across * width)
    delta = game.x.new_zeros(len(signs), c, h, w)
    y, x = (h - down * height) // 2, (w - across * width) // 2
    delta[:, :, y : y + down * height, x : x + across * width] = grid
    scale = game.threat.reach / delta.flatten(1).norm(p, dim=1).clamp_min(1e-12)
    if p == 1:  # every bump as heavy as one feature can move: the projection thins them out
        scale = scale.clamp_min(high - low)
    return grown(game, delta * scale.view(-1, 1, 1, 1))


def grown(game: Game, delta: Tensor) -> Tensor:
    """The change (b, c, h, w) at full length, of the input's shape."""
    return game.project((FULL if order(game) == 2 else 1.0) * delta.view_as(game.x))


def bump_proposal(game: Game, rows: Rows, m: int, windows: Tensor) -> Tensor:
    """(b, 1, *shape) one window emptied and its norm, with what is unspent, spent on a bump in another.

    Every row is at the same query.
    """
    p = order(game)
    c, h, w = as_image(game.x)
    delta = rows.delta.view(-1, c, h, w)
    b = len(delta)
    least = 3 if min(h, w) >= 3 else 1
    height, width = (min(n, max(least, int(size)) | 1) for n, size in zip((h, w), windows[rows.k[0]], strict=True))
    ys, xs = torch.arange(height, device=delta.device), torch.arange(width, device=delta.device)
    flat = delta.reshape(b, c, h * w)
    u = game.noise.numbered(rows.k[:, None], 5 + c)[:, 0]
    cells = []
    for i in (0, 2):
        top, left = below(u[:, i : i + 1], h - height + 1), below(u[:, i + 1 : i + 2], w - width + 1)
        cells.append(((top + ys)[:, :, None] * w + (left + xs)[:, None, :]).flatten(1)[:, None].expand(-1, c, -1))
    pattern = bump(height, width, delta, p)
    turned = pattern.T if height == width else pattern
    pattern = torch.where(u[:, 4:5, None] < 0.5, pattern.flatten(), turned.flatten())
    old = flat.gather(2, cells[0])
    emptied = flat.scatter(2, cells[0], 0.0).scatter(2, cells[1], 0.0)
    total, left_over = (t.flatten(1).abs().pow(p).sum(1) for t in (flat, emptied))
    freed = (total - left_over) + (game.threat.reach**p - total).clamp_min(0)  # power p of the norm to spend
    each = (freed / c).clamp_min(0).sqrt() if p == 2 else freed.clamp_min(0)
    new = pattern * torch.where(u[:, 5:, None] < 0.5, -1.0, 1.0).to(delta.dtype)
    new = new + old / old.norm(p, dim=2, keepdim=True).clamp_min(1e-12)
    new = new / new.norm(p, dim=2, keepdim=True).clamp_min(1e-12) * each.view(-1, 1, 1)
    return grown(game, emptied.scatter(2, cells[0], new).view(b, c, h, w))[:, None]
