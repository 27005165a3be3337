"""Greedy local search."""

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import max_pool2d

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import Count, record
from saddlepoint.core.game import Game
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.ops.images import as_image
from saddlepoint.threats import L0


@record
class LocalSearch(Attack):
    """Probe single pixels, change the few that hurt most, and look on around them (LocSearchAdv).

    The neighborhood of what hurt stands in for a gradient. It finds an input with few changed pixels in some hundred
    queries, and does not take a pixel back: where their number is given, use SparseRS or CornerSearch.
    On other inputs than (c, h, w) images a pixel is a feature.

    Attributes:
        rounds: how often pixels are changed (R in the paper).
        pixels: changed in a round, at most (t).
        radius: of the square of pixels around a changed one that is probed next (d).
        change: "probe": a pixel becomes what it was probed with, on either side of the middle of the bounds, where that
            helps. "cyclic": it is multiplied by `scale`, whether it helps or not (the paper's).
        scale: for that, the middle of the bounds being zero; what leaves them on one side comes in on the other (r).
        probe: what a probed pixel is set to, in half widths of the bounds from their middle (p); halved for a row whose
            probes leave the goal less than 30 % unlikely on average, doubled again above 90 %.
        probes: a round, taken from the neighborhood at random.
        tabu: rounds in which a changed pixel is not probed, fewer where that would leave no pixels.

    Deviations: the default of `change` is not the paper's, whose change need not be what the probe found good. A cyclic
    change is probed on the side that it goes to: the paper probes on the pixel's own side, beyond the bounds if the pixel is
    at one. A round has a fixed number of probes, filled up from elsewhere; a probe that wins counts. Where no probe helps,
    the next are taken from anywhere. How likely a class is, is read off logits on a natural scale. There is no goal yet by
    which the true class has to leave the k likeliest, k above 1.
    """

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.MINIMUM
    threats: ClassVar = (L0,)
    slack: ClassVar = 4.0
    paper: ClassVar = Paper(
        key="narodytska2017simple",
        title="Simple Black-Box Adversarial Attacks on Deep Neural Networks",
        authors="Narodytska, Nina and Kasiviswanathan, Shiva",
        year=2017,
        venue="IEEE Conference on Computer Vision and Pattern Recognition Workshops",
        arxiv="1612.06299",
    )
    rounds: Count = 150
    pixels: Count = 5
    radius: Count = 5
    change: Literal["probe", "cyclic"] = "probe"
    scale: Annotated[float, Field(gt=1, le=2)] = 1.5
    probe: Annotated[float, Field(gt=0, le=1)] = 1.0
    probes: Count = 128
    tabu: Annotated[int, Field(ge=0)] = 30

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return self.rounds * (min(self.probes, features) + 1) + 1, 0

    def run(self, game: Game) -> Iterator[Rows]:
        c, h, w = as_image(game.x)
        few = min(self.pixels, h * w)
        tabu = min(self.tabu, h * w // few - 1)
        loss = game.goal.cross_entropy(game.clean_logits)
        free = game.x.new_zeros(len(loss), h * w, dtype=torch.int64)
        rows = Rows(at=game.x.reshape(-1, c, h * w), loss=loss, near=free == 0, free=free, probe=self.probe + 0 * loss)
        for i in range(self.rounds):
            wish = game.noise.uniform(h * w, dtype=torch.float64) + 2 * (rows.free > i) + (~rows.near).double()
            places = wish.topk(min(self.probes, h * w - tabu * few), dim=1, largest=False).indices
            cyclic, values = self.cyclic(game, rows.at), self.values(game, rows)
            probed = game.cross_entropy(numbered(places), population=True, apply=painter(rows.at, values))
            rows.probe = self.adapted(rows.probe, probed)
            lowest = probed.nan_to_num(nan=torch.inf).topk(min(few, places.shape[1]), dim=1, largest=False)
            worst, helps = places.gather(1, lowest.indices), lowest.values < rows.loss[:, None]
            if self.change == "cyclic":
                values, helps = cyclic, torch.ones_like(helps)
            here = worst[:, None].expand(-1, c, -1)
            changed = torch.where(helps[:, None], values.gather(2, here), rows.at.gather(2, here))
            rows.at = rows.at.scatter(2, here, changed)
            rows.free = rows.free.scatter(1, worst, torch.where(helps, i + 1 + tabu, 0))
            rows.near = self.around(worst, h, w) | ~helps.any(1, keepdim=True)
            moved = game.logits(numbered(places)[:, 0, :1], where=~game.found, apply=painter(rows.at, values))
            rows.loss = game.goal.cross_entropy(moved).nan_to_num(nan=torch.inf)
            game.retire(game.found)
            rows = yield rows

    def cyclic(self, game: Game, at: Tensor) -> Tensor:
        """What the paper's change makes of every pixel."""
        low, high = game.model.bounds
        middle, width = (low + high) / 2, high - low
        scaled = middle + self.scale * (at - middle)
        return torch.where(scaled > high, scaled - width, torch.where(scaled < low, scaled + width, scaled))

    def values(self, game: Game, rows: Rows) -> Tensor:
        """(b, c, pixels) what a probe makes of every pixel."""
        low, high = game.model.bounds
        middle, half = (low + high) / 2, (high - low) / 2
        if self.change == "cyclic":
            side = self.cyclic(game, rows.at) < middle
        else:
            at_bound = ((rows.at <= low) | (rows.at >= high)).all(1, keepdim=True)
            inward = at_bound | (game.noise.sign(rows.at.shape[2]) < 0)[:, None]
            side = (rows.at < middle) != inward
        return middle + half * rows.probe[:, None, None] * torch.where(side, -1.0, 1.0).to(rows.at.dtype)

    def adapted(self, probe: Tensor, probed: Tensor) -> Tensor:
        """The next round's probe, after the goal's losses of this round's."""
        unlikely = probed.sigmoid().mean(1)
        factor = torch.where(unlikely < 0.3, 0.5, torch.where(unlikely > 0.9, 2.0, 1.0)).to(probe.dtype)
        return (probe * factor).clamp(self.probe / 16, self.probe)

    def around(self, places: Tensor, h: int, w: int) -> Tensor:
        """(b, h * w) whether a pixel is in a square around one of (b, n)."""
        chosen = torch.zeros(len(places), h * w, device=places.device).scatter(1, places, 1.0).view(-1, 1, h, w)
        return max_pool2d(chosen, 2 * self.radius + 1, stride=1, padding=self.radius).flatten(1) > 0


def numbered(places: Tensor) -> Tensor:
    """(b, m, 1) places -> (b, m, 2) the row and the place: what `painter` paints."""
    row = torch.arange(len(places), device=places.device)[:, None].expand_as(places)
    return torch.stack([row, places], dim=2).double()


def painter(at: Tensor, values: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """From which pixel to change in which row of `at` (b, c, pixels) to the input."""

    def paint(x: Tensor, which: Tensor) -> Tensor:
        row, here = which[:, 0].long(), which[:, None, 1:].long().expand(-1, at.shape[1], -1)
        return at[row].scatter(2, here, values[row].gather(2, here)).view_as(x)

    return paint
