"""Inputs as small pictures, and as tables where they are none."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FACTORS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
FEATURES = 6

Array = NDArray[Any]


def pictured(x: Array) -> bool:
    """Whether an input is a gray or color image (c, h, w)."""
    return x.ndim == 3 and x.shape[0] in (1, 3) and min(x.shape[1:]) > 1


def picture(x: Array, low: float, high: float, side: int) -> str:
    """An image (c, h, w) as a PNG in a data URI, shrunk to at most `side` pixels, never enlarged."""
    levels = np.round(255 * np.clip((x - low) / (high - low), 0, 1)).astype(np.uint8)
    image = Image.fromarray(levels[0]) if len(levels) == 1 else Image.fromarray(np.moveaxis(levels, 0, 2).copy())
    if max(image.size) > side:
        shrink = side / max(image.size)
        width, height = (max(1, round(v * shrink)) for v in image.size)
        image = image.resize((width, height), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def difference(x: Array, x_adv: Array, low: float, high: float, side: int) -> tuple[str, str]:
    """The change around gray, magnified by a round factor that just does not clip, and that factor."""
    delta = (x_adv - x) / (high - low)
    largest = float(np.abs(delta).max())
    factor = max((f for f in FACTORS if f * largest <= 0.5 + 1e-6), default=FACTORS[0])
    return picture(0.5 + factor * delta, 0.0, 1.0, side), f"{factor:g}"


def changes(x: Array, x_adv: Array) -> list[dict[str, str]]:
    """The features with the largest changes."""
    delta = (x_adv - x).ravel()
    order = np.argsort(-np.abs(delta), kind="stable")[:FEATURES]
    return [
        {
            "feature": str(order[i]) if x.ndim == 1 else ", ".join(map(str, np.unravel_index(order[i], x.shape))),
            "before": f"{x.ravel()[order[i]]:.3g}",
            "after": f"{x_adv.ravel()[order[i]]:.3g}",
            "change": f"{delta[order[i]]:+.3g}",
        }
        for i in range(len(order))
        if delta[order[i]] != 0
    ]
