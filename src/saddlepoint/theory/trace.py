"""Logits along the line of the fast gradient sign method.

Goodfellow et al., "Explaining and harnessing adversarial examples", International Conference on Learning Representations,
2015, figure 4: along one line the logits of a network are nearly straight, the right answers fill a thin interval, and far
out one wrong answer holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Goal
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_goal, as_model, as_threat, check_settings, checked_inputs
from saddlepoint.core.threat import Threat
from saddlepoint.theory.picture import Frame, saved, shown, strip


@dataclass(frozen=True, repr=False)
class Trace:
    """What a model answers along a line through each of n inputs.

    Attributes:
        eps: (e,) places on the line, in units of the direction, increasing, 0 among them.
        logits: (n, e, k) the model's own, nothing clipped.
        margin: (n, e) of the goal: below zero where the attacker has won.
        x: (n, *shape) the inputs, at 0.
        direction: (n, *theta) the direction that the attacker prefers.
        threat: what makes an input of a place on the line.
        bounds: the model's lowest and highest value of an input; the line leaves them.
    """

    eps: Tensor
    logits: Tensor
    margin: Tensor
    x: Tensor
    direction: Tensor
    threat: Threat
    bounds: tuple[float, float]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def answers(self) -> Tensor:
        """(n, e) the classes with the largest logits."""
        return self.logits.argmax(2)

    @property
    def zero(self) -> int:
        """Index of 0 in `eps`."""
        return int((self.eps == 0).nonzero()[0])

    @property
    def interval(self) -> Tensor:
        """(n, 2) where the attacker first wins left and right of 0, the margin taken as straight between two places.

        Infinite where nothing wins within the line; 0 and 0 for inputs that are won at 0.
        """
        left = _first_win(-self.eps[: self.zero + 1].flip(0), self.margin[:, : self.zero + 1].flip(1))
        return torch.stack([-left, _first_win(self.eps[self.zero :], self.margin[:, self.zero :])], dim=1)

    @property
    def width(self) -> Tensor:
        """(n,) width of that interval."""
        return self.interval.diff(dim=1)[:, 0]

    @property
    def linearity(self) -> Tensor:
        """(n, 2) R^2 of one straight line a class, left and right of 0: 1 where the only kink is at 0."""
        sides = slice(None, self.zero + 1), slice(self.zero, None)
        return torch.stack([_straightness(self.eps[side], self.logits[:, side]) for side in sides], dim=1)

    @property
    def stability(self) -> Tensor:
        """(n,) share of the places right of the interval that have the commonest answer there; NaN where there is none."""
        beyond = self.eps >= self.interval[:, 1:]
        counts = torch.nn.functional.one_hot(self.answers, self.logits.shape[2]) * beyond[:, :, None]
        return counts.sum(1).amax(1) / beyond.sum(1)

    @property
    def growth(self) -> Tensor:
        """(n, 2) largest minus smallest logit at the ends of the line, divided by the same at 0."""
        spread = self.logits.amax(2) - self.logits.amin(2)
        return spread[:, [0, -1]] / spread[:, [self.zero]]

    def summary(self) -> dict[str, Any]:
        """Every number of every input, as plain data; None for what is infinite or does not exist."""
        names = ("interval", "width", "linearity", "stability", "growth")
        return {"n": len(self), "threat": self.threat.name, **{name: _plain(getattr(self, name)) for name in names}}

    def data(self) -> dict[str, Any]:
        """The summary and the logits as plain data."""
        return self.summary() | {"eps": _plain(self.eps), "answers": self.answers.tolist(), "logits": _plain(self.logits)}

    def images(self, row: int, eps: Tensor) -> Tensor:
        """(m, *shape) the inputs of one row at m places."""
        return self.threat.apply(self.x[[row]].expand(len(eps), *self.x.shape[1:]), _along(eps, self.direction[[row]]))

    def plot(self, path: str | Path, row: int = 0, classes: Sequence[str] | None = None) -> None:
        """Draw the logits of one input over eps and, if it is an image, the strip of images below.

        Images that the attacker has not won, the right answers, are framed.

        Args:
            path: where to; the suffix says the format: .png, .svg, .pdf.
            row: which input.
            classes: their names; by default their numbers.
        """
        from matplotlib.figure import Figure  # heavy, and needed here only

        pictured = shown(self.x)
        height = 4.6 if pictured else 3.6
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.subplots(2, 1, squeeze=False, height_ratios=[5, 1])[:, 0] if pictured else [figure.add_subplot()]
        _draw_logits(axes[0], self, row, classes)
        if pictured:
            places = torch.linspace(0, len(self.eps) - 1, min(15, len(self.eps))).round().long()
            frames = [Frame.GOOD if m >= 0 else Frame.NONE for m in self.margin[row, places].tolist()]
            labels = [f"{v:.3g}" for v in self.eps[places].tolist()]
            strip(axes[1], self.images(row, self.eps[places].to(self.x)), self.bounds, labels, frames)
            axes[1].set_xlabel("the input at these eps; framed: the attacker has not won", fontsize=9)
        saved(figure, path)

    def __repr__(self) -> str:
        widths = self.width[self.margin[:, self.zero] >= 0]
        middle = float(widths.quantile(0.5, interpolation="lower")) if len(widths) else float("nan")
        left, right = self.linearity.median(0).values.tolist() if len(self) else (float("nan"),) * 2
        return f"Trace(n={len(self)}, median width {middle:.4g}, median R^2 {left:.4f} left and {right:.4f} right of 0)"


def trace(
    model: Any,
    x: Any,
    goal: Any,
    eps: float | Sequence[float] | Tensor = 10.0,
    *,
    points: int = 201,
    threat: Threat | str = "linf",
    directions: Tensor | None = None,
    batch: int = 256,
) -> Trace:
    """Logits at x + eps * direction, unclipped; the gradient is taken once, at eps = 0.

    Args:
        model: a Model, or any torch.nn.Module of inputs in [0, 1].
        x: (n, *shape) float inputs within the model's bounds.
        goal: what the attacker wants: a Goal, or labels (n,) for Untargeted.
        eps: farthest place on either side, or all places, increasing, with 0 among them.
        points: number of places when `eps` is one number; odd, so that 0 is one of them.
        threat: whose steepest direction of the cross entropy is followed: "linf" for the gradient's sign, "l2" for the
            gradient divided by its length; for threats of a few parameters the line is one of parameters.
        directions: (n, *theta) directions to follow instead; then the model need not show gradients.
        batch: largest forward pass.

    Raises:
        InputError: an argument is not what it should be; the sentence says which, and what to do.
        AccessError: the model shows no scores, or no gradients where they are needed.
    """
    model, threat = as_model(model), as_threat(threat)
    x = checked_inputs(x, model)
    goal = as_goal(goal).checked(len(x), x.device)
    check_settings(0, batch, None)
    places = _places(eps, points).to(x)
    need, why = (
        (Access.GRADIENTS, "Give directions.") if directions is None else (Access.SCORES, "Use one that gives scores.")
    )
    model.require(need, "trace", why)
    if not len(x):
        raise InputError("trace draws lines through inputs, and x has none. Give one at least.")
    given = None if directions is None else _checked_directions(directions, x, threat)
    parts = []
    with torch.inference_mode(False), model.session(), torch.enable_grad():
        for rows in torch.arange(len(x), device=x.device).split(batch):
            some = None if given is None else given[rows]
            parts.append(_lines(model, x[rows], goal.select(rows), places, threat, some, batch))
    logits, margin, direction = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Trace(places, logits, margin, x, direction, threat, model.bounds)


def _lines(
    model: Model, x: Tensor, goal: Goal, eps: Tensor, threat: Threat, given: Tensor | None, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and margins of some rows at all places, and their directions."""
    game = Game(model, x, goal, threat, noise=Noise(0, torch.arange(len(x)), device=x.device))
    direction = given
    if direction is None:
        theta = game.start(random=False).requires_grad_()
        direction = game.steepest(game.gradient(game.cross_entropy(theta), theta), theta.detach())
    rows = torch.arange(len(x), device=x.device).repeat_interleave(len(eps))
    with torch.no_grad():
        answers = [
            checked_logits(model.logits, threat.apply(x[part], _along(step, direction[part])))
            for part, step in zip(rows.split(batch), eps.repeat(len(x)).split(batch), strict=True)
        ]
    logits = torch.cat(answers).unflatten(0, (len(x), len(eps)))
    return logits, game.goal.margin(logits), direction


def _along(eps: Tensor, direction: Tensor) -> Tensor:
    return eps.to(direction).view(-1, *(1,) * (direction.dim() - 1)) * direction


def _places(eps: Any, points: Any) -> Tensor:
    """The places on the line, or one InputError."""
    if isinstance(eps, int | float) and not isinstance(eps, bool):
        if not 0 < eps < float("inf"):
            raise InputError(f"eps must be above 0 and finite; got {eps!r}. Write eps=10, say.")
        if not isinstance(points, int) or points < 3 or points % 2 == 0:
            raise InputError(f"points must be an odd number of at least 3; got {points!r}. Write points=201, say.")
        half = torch.arange(1, points // 2 + 1, dtype=torch.float64) * (eps / (points // 2))
        return torch.cat([-half.flip(0), half.new_zeros(1), half])
    try:
        places = torch.as_tensor(eps, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"eps must be a number, or the places on the line; got {eps!r:.60}. Write eps=10, say.") from None
    if not (places.isfinite().all() and (places.diff() > 0).all() and (places == 0).any() and places[0] < 0 < places[-1]):
        raise InputError("The places eps must increase, with 0 among them and one at least on either side. Sort them.")
    return places


def _checked_directions(directions: Any, x: Tensor, threat: Threat) -> Tensor:
    shape = tuple(threat.zero(x).shape)
    if not isinstance(directions, Tensor) or tuple(directions.shape) != shape:
        got = tuple(directions.shape) if isinstance(directions, Tensor) else type(directions).__name__
        raise InputError(f"directions must be a tensor of shape {shape}, one an example; got {got}.")
    return directions.detach().to(x)


def _first_win(eps: Tensor, margin: Tensor) -> Tensor:
    """(n,) where the margin first falls below zero, from 0 outward; infinite where it does not."""
    won = ~(margin >= 0)  # NaN is no right answer
    first = won.int().argmax(1, keepdim=True)
    before = (first - 1).clamp_min(0)
    at, then = margin.gather(1, before), margin.gather(1, first)
    share = (at / (at - then)).nan_to_num(nan=0.0)
    place = eps[before] + share * (eps[first] - eps[before])
    place = torch.where(first == 0, 0, place)
    return torch.where(won.any(1, keepdim=True), place, torch.inf)[:, 0]


def _straightness(eps: Tensor, logits: Tensor) -> Tensor:
    """(n,) R^2 of the best straight lines through logits (n, e, k), the squares of all classes summed."""
    eps, logits = eps.double(), logits.double()
    centered, around = eps - eps.mean(), logits - logits.mean(1, keepdim=True)
    slope = (centered[:, None] * around).sum(1, keepdim=True) / centered.square().sum()
    left = (around - slope * centered[:, None]).square().sum((1, 2))
    total = around.square().sum((1, 2))
    return torch.where(total > 0, 1 - left / total, torch.where(total == 0, 1.0, torch.nan))


def _plain(values: Tensor) -> Any:
    """Nested lists, with None for what JSON does not have."""
    if values.dim():
        return [_plain(v) for v in values]
    return float(values) if values.isfinite() else None


def _draw_logits(axes: Any, found: Trace, row: int, classes: Sequence[str] | None) -> None:
    eps, logits = found.eps.cpu(), found.logits[row].cpu()
    answer = int(found.answers[row, found.zero])
    told = sorted({answer, *logits.amax(0).topk(min(10, logits.shape[1])).indices.tolist()})
    left, right = found.interval[row].clamp(eps[0], eps[-1]).tolist()
    axes.axvspan(left, right, color="0.9", linewidth=0, label="attacker has not won")
    for k in range(logits.shape[1]):
        known = k in told
        name = str(k) if classes is None else classes[k]
        axes.plot(
            eps, logits[:, k], color=f"C{told.index(k) % 10}" if known else "0.8", linewidth=2.4 if k == answer else 1.1,
            label=(f"{name} (answer at 0)" if k == answer else name) if known else None, zorder=3 if known else 2,
        )  # fmt: skip
    axes.set(xlabel="eps", ylabel="logit", xlim=(float(eps[0]), float(eps[-1])))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
