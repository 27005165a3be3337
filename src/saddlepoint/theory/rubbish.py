"""Rubbish-class inputs: noise of no class that a model is sure about.

Goodfellow et al., "Explaining and harnessing adversarial examples", International Conference on Learning Representations,
2015, appendix: a model should give no class of noise a probability above one half, and ordinary networks do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Targeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_attack, as_model, as_threat, attack, check_settings
from saddlepoint.core.result import Outcome, Result, Share
from saddlepoint.core.threat import Threat
from saddlepoint.theory.picture import Frame, saved, shown, strip

KINDS = ("gaussian", "clipped", "uniform")
"""Normal noise; the same clipped to the model's bounds; noise uniform between these bounds."""

PICTURED = 10


@dataclass(frozen=True, repr=False)
class Rubbish:
    """What a model answers to n noise inputs of one kind.

    Attributes:
        kind: one of KINDS.
        answer: (n,) the likeliest class.
        softmax: (n,) its probability, were the classes exclusive.
        sigmoid: (n,) its probability, were every class a question of its own: for networks trained that way.
        x: (m, *shape) the first few inputs.
        above: probabilities above this are errors.
        bounds: lowest and highest value of an input; gaussian noise leaves them.
    """

    kind: str
    answer: Tensor
    softmax: Tensor
    sigmoid: Tensor
    x: Tensor
    above: float
    bounds: tuple[float, float]

    def rate(self, by: str = "softmax") -> Share:
        """The share of errors, by "softmax" or "sigmoid"."""
        return Share(int((self._probability(by) > self.above).sum()), len(self.answer))

    def confidence(self, by: str = "softmax") -> float:
        """Mean probability of the errors; NaN when there are none."""
        found = self._probability(by)
        return float(found[found > self.above].double().mean())

    def _probability(self, by: str) -> Tensor:
        if by not in ("softmax", "sigmoid"):
            raise InputError(f"by must be 'softmax' or 'sigmoid'; got {by!r}.")
        return self.softmax if by == "softmax" else self.sigmoid

    def data(self) -> dict[str, Any]:
        """Plain data; None for a mean of nothing."""
        rates = {by: self.rate(by).data() | {"confidence": _number(self.confidence(by))} for by in ("softmax", "sigmoid")}
        return {"kind": self.kind, "above": self.above} | rates

    def __repr__(self) -> str:
        return f"Rubbish({self.kind}: {self.rate()} above {self.above:g}, at confidence {self.confidence():.1%})"


def rubbish(
    model: Any,
    shape: Sequence[int],
    *,
    kinds: Sequence[str] = KINDS,
    samples: int = 1000,
    std: float = 1.0,
    above: float = 0.5,
    seed: int = 0,
    batch: int = 256,
) -> list[Rubbish]:
    """Ask a model about noise, and how sure it is.

    Args:
        model: a Model that gives scores, or any torch.nn.Module.
        shape: of one input.
        kinds: some of KINDS.
        samples: inputs of each kind.
        std: standard deviation of gaussian noise, in input units; its mean is 0.
        above: the probability from which an answer to noise is an error.
        seed: key of all randomness.
        batch: largest forward pass.
    """
    model = as_model(model)
    model.require(Access.SCORES, "rubbish", "Use a model that gives scores.")
    check_settings(seed, batch, None)
    ids = _ids(samples)
    if not 0 <= above < 1:
        raise InputError(f"above must be a probability below 1; got {above!r}. Write above=0.5, say.")
    found = []
    with torch.inference_mode(False), model.session(), torch.no_grad():
        for kind in kinds:
            parts = []
            for rows in ids.split(batch):
                x = noise(model, shape, kind, rows, seed=seed, std=std)
                logits = checked_logits(model.logits, x)
                likeliest = logits.softmax(1).amax(1), logits.amax(1).sigmoid()
                parts.append((logits.argmax(1), *likeliest, x[: max(0, PICTURED - int(rows[0]))]))
            answer, softmax, sigmoid, kept = (torch.cat(column) for column in zip(*parts, strict=True))
            found.append(Rubbish(kind, answer, softmax, sigmoid, kept, above, model.bounds))
    return found


@dataclass(frozen=True, repr=False)
class Fooling:
    """What an attack made of noise: one wanted class an input.

    Attributes:
        target: (n,) the wanted classes.
        result: of the attack, one row an input.
        confidence: (n,) probability of the wanted class afterwards.
        above: from this probability on, the model is fooled, not only wrong.
        method: the attack.
        threat: what it was allowed to change.
        bounds: lowest and highest value of an input.
    """

    target: Tensor
    result: Result
    confidence: Tensor
    above: float
    method: Attack
    threat: Threat
    bounds: tuple[float, float]

    @property
    def fooled(self) -> Tensor:
        """(n,) which noise was turned into the wanted class, at a probability above the bound."""
        return self.result.rows(Outcome.FOUND) & (self.confidence > self.above)

    def rate(self, target: int | None = None) -> Share:
        """The share fooled, of the noise that had another answer before: toward one class, or all."""
        rows = ~self.result.rows(Outcome.ALREADY_WRONG)
        rows = rows if target is None else rows & (self.target == target)
        return Share(int((self.fooled & rows).sum()), int(rows.sum()))

    def data(self) -> dict[str, Any]:
        """Plain data; None for a mean of nothing."""
        each = [
            {"class": k, "confidence": _number(float(self.confidence[self.target == k].double().mean()))}
            | self.rate(k).data()
            for k in self.target.unique().tolist()
        ]
        about = {"attack": to_config(self.method), "threat": self.threat.name, "above": self.above}
        return about | {"rate": self.rate().data(), "classes": each}

    def __repr__(self) -> str:
        return f"Fooling({self.rate()} to a class that was wanted, above {self.above:g})"


def fooling(
    model: Any,
    shape: Sequence[int],
    threat: Threat | str = "linf:0.1",
    method: Attack | str = "PGD",
    *,
    classes: int | Sequence[int] | None = None,
    samples: int = 10,
    kind: str = "uniform",
    above: float = 0.5,
    seed: int = 0,
    batch: int = 256,
) -> Fooling:
    """Turn noise into every wanted class.

    Args:
        model: as for `rubbish`; it must show what the attack needs.
        shape: of one input.
        threat: how far the noise may be changed.
        method: an attack, or its name; it plays to its end, to become as sure as it can.
        classes: the wanted classes; by default all.
        samples: noise inputs for each wanted class.
        kind: "uniform" or "clipped": an attack starts within the bounds.
        above, seed, batch: as for `rubbish`.
    """
    model, method, threat = as_model(model), as_attack(method), as_threat(threat)
    model.require(Access.SCORES, "fooling", "Use a model that gives scores.")
    if kind not in ("uniform", "clipped"):
        raise InputError(f"Noise to start from must be 'uniform' or 'clipped'; got {kind!r}.")
    with model.session(), torch.no_grad():
        known = checked_logits(model.logits, noise(model, shape, kind, _ids(1), seed=seed)).shape[1]
    wanted = torch.arange(known) if classes is None else torch.as_tensor(classes).flatten().long()
    target = wanted.repeat_interleave(len(_ids(samples)))
    ids = torch.arange(len(target))
    x = noise(model, shape, kind, ids, seed=seed)
    result = attack(model, x, Targeted(target), threat, method, seed=seed, batch=batch, stop=Stop.NEVER)
    with model.session(), torch.no_grad():
        probability = [checked_logits(model.logits, part).softmax(1) for part in result.x_adv.split(batch)]
    confidence = torch.cat(probability).cpu().gather(1, target[:, None])[:, 0]
    return Fooling(target, _on_cpu(result), confidence, above, method, threat, model.bounds)


def noise(model: Model, shape: Sequence[int], kind: str, ids: Tensor, *, seed: int = 0, std: float = 1.0) -> Tensor:
    """(n, *shape) noise of a kind, keyed by seed and ids (n,)."""
    draw, (low, high) = Noise(seed, ids, kind, model.device), model.bounds
    if kind == "uniform":
        return low + (high - low) * draw.uniform(*shape)
    if kind not in KINDS:
        raise InputError(f"There is no noise called {kind!r}. Choose from {', '.join(KINDS)}.")
    x = std * draw.normal(*shape)
    return x.clamp(low, high) if kind == "clipped" else x


def gallery(path: str | Path, found: Sequence[Rubbish], fooled: Fooling | None = None) -> None:
    """Draw a row of noise inputs of each kind, and one input turned into each wanted class.

    Below each its answer and probability; framed where the probability is an error.

    Raises InputError for inputs that are no images.
    """
    from matplotlib.figure import Figure  # heavy, and needed here only

    titles = [f"{r.kind} noise: {r.rate()} with a class above {r.above:.0%}" for r in found]
    rows = [_noise_row(r) for r in found]
    if fooled is not None:
        how = f"{type(fooled.method).__name__}, {fooled.threat.name}"
        titles.append(f"noise changed by {how}: {fooled.rate()} wanted above {fooled.above:.0%}")
        rows.append(_fooled_row(fooled))
    if not rows or not all(shown(images) for images, *_ in rows):
        raise InputError("Only gray or color images can be drawn, one kind of noise at least. Print data() instead.")
    figure = Figure(figsize=(8, 1.35 * len(rows) + 0.1), layout="constrained")
    bounds = (found[0] if found else fooled).bounds  # type: ignore[union-attr]  # there is a row
    places = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, title, (images, labels, frames) in zip(places, titles, rows, strict=True):
        strip(axes, images, bounds, labels, frames)
        axes.set_title(title, fontsize=9, loc="left")
    saved(figure, path)


Row = tuple[Tensor, list[str], list[Frame]]


def _noise_row(found: Rubbish) -> Row:
    n = len(found.x)
    answers = zip(found.answer[:n].tolist(), found.softmax[:n].tolist(), strict=True)
    frames = [Frame.BAD if p > found.above else Frame.NONE for p in found.softmax[:n].tolist()]
    return found.x, [f"{k}: {p:.0%}" for k, p in answers], frames


def _fooled_row(fooled: Fooling) -> Row:
    """The surest input of each of the first wanted classes."""
    rows = []
    for k in fooled.target.unique()[:PICTURED].tolist():
        of_class = (fooled.target == k).nonzero()[:, 0]
        rows.append(int(of_class[fooled.confidence[of_class].argmax()]))
    answers = zip(fooled.target[rows].tolist(), fooled.confidence[rows].tolist(), strict=True)
    frames = [Frame.BAD if p > fooled.above else Frame.NONE for p in fooled.confidence[rows].tolist()]
    return fooled.result.x_adv[rows], [f"{k}: {p:.0%}" for k, p in answers], frames


def _ids(samples: Any) -> Tensor:
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise InputError(f"samples must be a number of at least 1; got {samples!r}. Write samples=1000, say.")
    return torch.arange(samples)


def _on_cpu(result: Result) -> Result:
    columns: dict[str, Any] = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in vars(result).items()}
    return Result(**columns)


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
