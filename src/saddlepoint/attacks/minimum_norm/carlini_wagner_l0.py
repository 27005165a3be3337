"""The L0 search of Carlini and Wagner: the L2 search on ever fewer pixels."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saddlepoint.attacks.minimum_norm.carlini_wagner_terms import HINGED, SMALLEST, TanhBox, adam, restart, unhinged, won
from saddlepoint.core.attack import Rows
from saddlepoint.core.game import Game
from saddlepoint.ops.norms import expand_as, l2, pixels

if TYPE_CHECKING:
    from saddlepoint.attacks.minimum_norm.carlini_wagner import CarliniWagner

AMPLE = 4.0  # over the c of an L2 optimum: with few pixels free, each may move far
BOOST = 100.0  # of c, in rows that have never won


def eliminate(attack: "CarliniWagner", game: Game) -> Iterator[Rows]:
    """Minimize |delta|^2 + c f(x + delta) on the free pixels; after every win, freeze those that matter least."""
    box, patience = TanhBox(*game.model.bounds), math.ceil(attack.steps / 2)
    w = box.inverse(game.best)
    zero, free = torch.zeros_like(w.flatten(1)[:, 0]), pixels(game.best != game.x).any(1)
    free = free | ~free.any(1, keepdim=True)  # what the start needed; all pixels where it found nothing
    rows = Rows(
        w=w, mean=torch.zeros_like(w), square=torch.zeros_like(w), k=zero, idle=zero, constant=zero + attack.first_constant,
        free=free, share=zero + (attack.freeze or 0.0), once=zero > 0,
        kept=w, kept_free=free, matter=torch.zeros_like(pixels(w)[:, 0]),
    )  # fmt: skip
    for step in range(attack.searches * attack.steps):
        delta = (pixels(box.image(rows.w) - game.x) * rows.free[:, None]).view_as(rows.w).requires_grad_()
        logits = game.logits(delta)
        value = unhinged(attack, game, logits)
        slope = game.gradient(value, delta)  # of f, hinge or not: a win says how much each pixel did for it
        delta, value = delta.detach(), value.detach()
        if step == 0 and attack.start is not None:
            steep = l2(slope)
            rows.constant = torch.where(steep > 0, 2 * AMPLE * l2(delta) / steep, attack.first_constant).clamp_min(SMALLEST)
        push = rows.constant * (value > 0) if attack.objective in HINGED else rows.constant
        gradient = (2 * delta + expand_as(push, slope) * slope) * box.slope(rows.w)
        solved = won(attack, game, logits)
        keep(rows, solved, -pixels(slope * delta).sum(1))
        frozen = freeze(attack, game, rows, solved, patience)
        rows.k = rows.k + 1
        moved = adam(rows, gradient, expand_as(rows.k, gradient), attack.step_size or 0.3)
        rows.w = rows.w - moved.masked_fill(expand_as(frozen, moved), 0)
        rows = yield rows


def keep(rows: Rows, solved: Tensor, matter: Tensor) -> None:
    """Remember the last win of every row: where it was, its free pixels, and the share of each in lowering f."""
    rows.kept = torch.where(expand_as(solved, rows.w), rows.w, rows.kept)
    rows.kept_free = torch.where(solved[:, None], rows.free, rows.kept_free)
    rows.matter = torch.where(solved[:, None], matter, rows.matter)
    rows.once = rows.once | solved
    rows.idle = torch.where(solved, 0, rows.idle + 1)


def freeze(attack: "CarliniWagner", game: Game, rows: Rows, solved: Tensor, patience: int) -> Tensor:
    """Freeze the least important pixels of the last win, in rows that just won or are stuck; says which these are.

    Stuck rows freeze half as many as before, under a larger c; the search ends where one pixel was too many.
    """
    stuck = rows.idle >= patience
    back = stuck & rows.once
    left = rows.kept_free.sum(1)
    game.retire((back & ((rows.share * left).ceil() <= 1)) | (solved & (left == 1)))
    rows.constant = torch.where(stuck, rows.constant * torch.where(rows.once, 2.0, BOOST), rows.constant)
    rows.share = torch.where(back, rows.share / 2, rows.share)
    rows.idle = torch.where(stuck, 0, rows.idle)
    rows.w = torch.where(expand_as(back, rows.w), rows.kept, rows.w)
    count = (rows.share * left).ceil().clamp_min(1)
    order = rows.matter.masked_fill(~rows.kept_free, torch.inf).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    again = solved | back
    rows.free = torch.where(again[:, None], rows.kept_free & (order >= count[:, None]), rows.free)
    restart(rows, again)
    return again
