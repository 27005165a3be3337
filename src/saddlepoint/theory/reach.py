"""Which classes an example can be turned into, and how sure the model then is: the report of the one-pixel attack.

Su, Vargas and Sakurai, "One pixel attack for fooling deep neural networks", 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saddlepoint.core.answers import checked_logits
from saddlepoint.core.attack import Attack
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Targeted, checked_labels, checked_range
from saddlepoint.core.model import Access, Model
from saddlepoint.core.play import as_model, attack, checked_inputs
from saddlepoint.core.result import Outcome, Share
from saddlepoint.core.threat import Threat
from saddlepoint.theory.picture import saved

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Reach:
    """What targeted attacks from every example toward every wrong class reached.

    Attributes:
        source: (n,) classes of the examples whose clean answer was right; the others are left out.
        probability: (n, classes) the model's probability of each class where it was reached, NaN where it was not.
    """

    source: Ints
    probability: Floats

    @property
    def reached(self) -> NDArray[np.bool_]:
        """(n, classes) whether the example was turned into the class."""
        return ~np.isnan(self.probability)

    @property
    def success(self) -> Share:
        """The targeted success rate, over examples and wrong classes."""
        n, classes = self.probability.shape
        return Share(int(self.reached.sum()), n * max(classes - 1, 0))

    @property
    def fooled(self) -> Share:
        """The examples turned into at least one wrong class: the untargeted success rate as the paper derives it."""
        return Share(int(self.reached.any(1).sum()), len(self.source))

    @property
    def confidence(self) -> float:
        """The mean probability of the classes that were reached; NaN if none was."""
        return float(self.probability[self.reached].mean()) if self.reached.any() else float("nan")

    @property
    def classes(self) -> Ints:
        """(n,) how many classes each example was turned into."""
        return self.reached.sum(1)

    @property
    def histogram(self) -> Ints:
        """(classes,) how many examples were turned into exactly 0, 1, 2 ... classes."""
        return np.bincount(self.classes, minlength=self.probability.shape[1])

    @property
    def map(self) -> Ints:
        """(classes, classes) how many examples of each class, by row, were turned into each class, by column."""
        counts = np.zeros((self.probability.shape[1],) * 2, dtype=np.int64)
        np.add.at(counts, self.source, self.reached)
        return counts

    def data(self) -> dict[str, Any]:
        """All of it but the example's own rows, as plain data; None for a confidence that does not exist."""
        return {
            "success": self.success.data(),
            "fooled": self.fooled.data(),
            "confidence": None if np.isnan(self.confidence) else self.confidence,
            "examples": np.bincount(self.source, minlength=self.probability.shape[1]).tolist(),
            "histogram": self.histogram.tolist(),
            "map": self.map.tolist(),
        }

    def plot(self, path: str | Path, classes: Sequence[str] | None = None) -> None:
        """Draw the map from class to class, and how many classes the examples were turned into.

        Args:
            path: where to; the suffix says the format: .png, .svg, .pdf.
            classes: their names; by default their numbers.
        """
        from matplotlib import colormaps  # heavy, and needed here only
        from matplotlib.figure import Figure

        k = self.probability.shape[1]
        names = [str(i) for i in range(k)] if classes is None else [str(name) for name in classes]
        figure = Figure(figsize=(10, 4.9), layout="constrained")
        figure.suptitle(str(self), fontsize=10)
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        colors = colormaps["Blues"].with_extremes(bad="0.85")
        left.imshow(np.ma.masked_where(np.eye(k, dtype=bool), self.map), colors, vmin=0, vmax=max(1, int(self.map.max())))
        for i, j in zip(*np.nonzero(self.map), strict=True):
            color = "white" if 2 * self.map[i, j] > self.map.max() else "black"
            left.text(j, i, str(self.map[i, j]), ha="center", va="center", fontsize=8, color=color)
        counts = np.bincount(self.source, minlength=k)
        left.set_xticks(range(k), names, rotation=90 if max(map(len, names)) > 2 else 0)
        left.set_yticks(range(k), [f"{name} (n={n})" for name, n in zip(names, counts, strict=True)])
        left.set(xlabel="turned into", ylabel="class", title="how many examples were turned")
        right.bar(range(k), self.histogram, color="tab:blue")
        right.set(xlabel="wrong classes", ylabel="examples", title="into how many classes")
        right.set_xticks(range(k))
        right.spines[["top", "right"]].set_visible(False)
        saved(figure, path)

    def __str__(self) -> str:
        few = f"{self.classes.mean():.2f} of {self.probability.shape[1] - 1}" if len(self.source) else "no"
        return (
            f"targeted {self.success}, any class {self.fooled}, mean confidence {self.confidence:.1%}, {few} classes reached"
        )


def reachable(
    model: Any,
    x: Any,
    y: Any,
    threat: Threat | str,
    method: Attack | str = "OnePixel",
    *,
    seed: int = 0,
    stop: Stop | None = None,
) -> Reach:
    """Attack every example toward every wrong class.

    As many attacks as there are wrong classes: on a thousand classes choose few examples.

    Args:
        model, x, threat, method, seed, stop: as for `saddlepoint.attack`. With `Stop.NEVER` an attack goes on after its
            first win, so that the confidence is the highest it could reach and not that at the border.
        y: (n,) labels.
    """
    model = as_model(model)
    model.require(
        Access.SCORES, "reachable", "Without scores there is no confidence; use saddlepoint.attack toward each class."
    )
    x = checked_inputs(x, model)
    y = checked_labels(y, len(x), x.device)
    clean = probabilities(model, x)
    checked_range(y, clean.shape[1])
    right = clean.argmax(1) == y
    x, y, classes = x[right], y[right], clean.shape[1]
    probability = np.full((len(x), classes), np.nan)
    for target in range(classes):
        rows = (y != target).nonzero().squeeze(1)
        result = attack(
            model, x[rows], Targeted(torch.full_like(rows, target)), threat, method, seed=seed, ids=rows, stop=stop
        )
        found = result.rows(Outcome.FOUND)
        sure = probabilities(model, result.x_adv[found])
        probability[rows[found].cpu().numpy(), target] = sure[:, target].double().cpu().numpy() if len(sure) else 0.0
    return Reach(y.cpu().numpy(), probability)


def probabilities(model: Model, x: Tensor) -> Tensor:
    """(n, classes) of inputs."""
    with torch.inference_mode(False), model.session(), torch.no_grad():
        parts = [checked_logits(model.logits, rows).softmax(1) for rows in x.split(256)]
    return torch.cat(parts) if parts else x.new_zeros(0, 2)
