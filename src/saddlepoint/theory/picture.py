"""Rows of small images with frames, for figures."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from saddlepoint.core.errors import InputError

GAP = 0.2  # between images, in widths of one


class Frame(Enum):
    """The color around an image."""

    NONE = None
    GOOD = "tab:green"
    BAD = "tab:red"


def shown(x: Tensor) -> bool:
    """Whether inputs (n, *shape) are gray or color images."""
    return x.dim() == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 1


def strip(axes: Any, images: Tensor, bounds: tuple[float, float], labels: Sequence[str], frames: Sequence[Frame]) -> None:
    """Draw images (m, c, h, w) beside each other, labels below; what is outside the bounds is drawn as the bound."""
    low, high = bounds
    tall = images.shape[2] / images.shape[3]
    for i, (image, frame) in enumerate(zip(images.cpu().numpy(), frames, strict=True)):
        levels = np.moveaxis(np.clip((image - low) / (high - low), 0, 1), 0, 2).repeat(3 // image.shape[0], axis=2)
        left = i * (1 + GAP)
        axes.imshow(levels, extent=(left, left + 1, 0, tall), interpolation="nearest", zorder=1)
        if frame.value is not None:
            (x0, x1), (y0, y1) = (left - GAP / 4, left + 1 + GAP / 4), (-GAP / 4, tall + GAP / 4)
            axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=frame.value, linewidth=2, clip_on=False, zorder=2)
    axes.set(xlim=(-GAP, len(images) * (1 + GAP)), ylim=(-GAP / 2, tall + GAP / 2), aspect="equal", yticks=[])
    axes.set_xticks([i * (1 + GAP) + 0.5 for i in range(len(images))], labels, fontsize=8)
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)


def saved(figure: Any, path: str | Path) -> None:
    """Write a figure, or raise InputError."""
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"Could not write {path} ({error}). Name a file in a folder that exists, as in out.png.") from error
