"""CornerSearch."""

from collections.abc import Callable, Generator, Iterator
from itertools import product
from typing import ClassVar, Literal

import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.ops.losses import of_class, without
from saddlepoint.threats import L0

PIECE = 128  # candidates asked about between two chances for a row to leave
Paint = Callable[[Tensor, Tensor], Tensor]


@record
class CornerSearch(Attack):
    """Try every pixel in every extreme color, then combine what did best; as many pixels as the radius of the L0 ball.

    For one pixel it is exhaustive over the corners of the color cube, and for a few it finds what OnePixel's evolution does
    at an eighth of the queries. For many pixels use SparseRS, whose cost does not grow with the image. Colors pixels have
    already are not tried. On other inputs than (c, h, w) images a pixel is a feature.

    Attributes:
        combine: "greedy": keep the best change and try all of them again on top of it, pixel by pixel. "sample": draw random
            combinations of the best single changes, of two pixels, then of three, and so on (the paper's).
        pool: changes to draw from, the better the likelier (N in the paper).
        samples: combinations of each number of pixels and each ranking (N_iter).
        increment: by how many pixels combinations grow.
        targets: likeliest wrong classes of which each has a ranking of its own, beside that by the margin, under an
            untargeted goal.

    Deviations: the default of `combine` is not the paper's, which needs far more queries for as many wins. Of many
    classes only some have a ranking. Rankings by the margin under other goals than the untargeted.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (L0,)
    slack: ClassVar = 1.05
    paper: ClassVar = Paper(
        key="croce2019sparse",
        title="Sparse and Imperceivable Adversarial Attacks",
        authors="Croce, Francesco and Hein, Matthias",
        year=2019,
        venue="IEEE/CVF International Conference on Computer Vision",
        arxiv="1909.05040",
    )
    combine: Literal["greedy", "sample"] = "greedy"
    pool: Count = 100
    samples: Count = 1000
    increment: Count = 1
    targets: Count = 9

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        singles = 8 * features // 3 + 1  # three channels have the most corners a feature
        if self.combine == "greedy":
            return singles * features + 1, 0
        rankings = 1 + min(self.targets, classes - 1)
        return singles + rankings * self.samples * features + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        c, h, w = as_image(game.x)
        if c > 3:
            raise InputError(
                f"CornerSearch tries all colors at a corner of the color cube; {c} channels have 2^{c}. Use SparseRS."
            )
        pixels = int(min(game.threat.reach, h * w))
        palette = game.x.new_tensor(list(product(game.model.bounds, repeat=c)))
        paint = painter(palette, h * w)
        greedy = self.combine == "greedy"
        rows = Rows(done=game.noise.integers(1, 0))  # (b, changes): place times colors plus color
        if not greedy and isinstance(game.goal, Untargeted):
            rivals = without(game.clean_logits, game.goal.y)
            rows.rivals = rivals.topk(min(self.targets, rivals.shape[1] - 1), dim=1).indices
        for _ in range(pixels if greedy else min(pixels, 1)):
            rows = yield from self.singles(game, rows, palette, paint)
            if greedy:
                rows.done = torch.cat([rows.done, rows.best[:, 0, :1]], dim=1)
        for together in [] if greedy else range(pixels, 1, -self.increment)[::-1]:
            for ranking in range(rows.best.shape[1]):
                for start in range(0, self.samples, PIECE):
                    m = min(PIECE, self.samples - start)
                    rank = (self.pool * (1 - game.noise.uniform(m, together).sqrt())).long().clamp_max(self.pool - 1)
                    codes = rows.best[:, ranking].gather(1, rank.flatten(1)).view_as(rank)
                    game.logits(codes.double(), population=True, apply=paint)
                    rows = yield rows

    def singles(self, game: Game, rows: Rows, palette: Tensor, paint: Paint) -> Generator[Rows, Rows, Rows]:
        """Try every change on top of those done: rows.best (b, rankings, pool) are the best by every ranking."""
        c = palette.shape[1]
        at = paint(game.x, rows.done).reshape(len(game.x), c, 1, -1)
        change = (palette.T[:, :, None] - at).abs().sum(1).transpose(1, 2).flatten(1)  # (b, pixels times colors)
        by_size = change.sort(dim=1, descending=True, stable=True)
        rows.order, rows.real = by_size.indices, by_size.values > 0
        rankings, pool = (1 + rows.rivals.shape[1], self.pool) if "rivals" in rows.__dict__ else (1, self.pool)
        if self.combine == "greedy":
            pool = 1
        rows.best = torch.zeros(len(at), rankings, pool, dtype=torch.int64, device=at.device)
        rows.loss = at.new_full((len(at), rankings, pool), torch.inf)
        for start in range(0, change.shape[1], PIECE):
            some = slice(start, start + PIECE)
            new, real = rows.order[:, some], rows.real[:, some]
            codes = torch.cat([rows.done[:, None].expand(-1, new.shape[1], -1), new[:, :, None]], dim=2)
            logits = game.logits(codes.double(), population=True, apply=paint, where=real[:, 0])
            loss = self.losses(game, rows, logits).masked_fill(~real[:, None], torch.inf)
            best = torch.cat([rows.loss, loss], dim=2).sort(dim=2, stable=True)
            codes = torch.cat([rows.best, new[:, None].expand(-1, rankings, -1)], dim=2)
            rows.loss, rows.best = best.values[:, :, :pool], codes.gather(2, best.indices[:, :, :pool])
            rows = yield rows
        return rows

    def losses(self, game: Game, rows: Rows, logits: Tensor) -> Tensor:
        """(b, rankings, m) what changes are ranked by: the margin, and the gap to each rival."""
        losses = [game.goal.margin(logits)]
        if "rivals" in rows.__dict__:
            own = of_class(logits, game.goal.like(logits.shape[:-1]))  # type: ignore[attr-defined]  # rivals are of a class
            losses += [own - of_class(logits, rival[:, None].expand_as(own)) for rival in rows.rivals.T]
        return torch.stack(losses, dim=1).nan_to_num(nan=torch.inf)


def painter(palette: Tensor, pixels: int) -> Paint:
    """From codes (b, changes) to the input with so many pixels repainted, later ones over earlier ones."""

    def paint(x: Tensor, codes: Tensor) -> Tensor:
        canvas = x.reshape(len(x), palette.shape[1], pixels)
        codes = codes.long()  # the game takes them as numbers like any other
        place, color = codes // len(palette), palette[codes % len(palette)]
        for i in range(codes.shape[1]):
            canvas = canvas.scatter(2, place[:, i, None, None].expand(-1, canvas.shape[1], 1), color[:, i, :, None])
        return canvas.view_as(x)

    return paint
