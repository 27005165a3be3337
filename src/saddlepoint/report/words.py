"""Numbers and names as the page writes them."""

import math
import unicodedata
from typing import Any

from saddlepoint.core.play import as_threat

FILTERS = ("percent", "bounds", "whole", "measure", "seconds", "name", "plain", "outcome")
SYMBOLS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}
MEANINGS = {
    "linf": "every feature of an input may change by at most {eps}",
    "l2": "the change of an input may have a Euclidean length of at most {eps}",
    "l1": "the absolute changes of an input may sum to at most {eps}",
    "l0": "at most {eps} pixels of an input may change, each to anything in bounds",
}
AXES = {
    "linf": "L∞ radius ε, in input units",
    "l2": "L2 radius ε, in input units",
    "l1": "L1 radius ε, in input units",
    "l0": "L0 radius ε, in changed pixels",
}


def percent(value: float | None) -> str:
    """A share."""
    return "—" if value is None else f"{value:.1%}"


def bounds(share: dict[str, Any]) -> str:
    """The 95 % interval of a share."""
    return f"[{share['low']:.1%}, {share['high']:.1%}]"


def whole(value: float) -> str:
    """A count."""
    return f"{value:,.0f}"


def measure(value: float | None) -> str:
    """A size; None is no number at all."""
    if value is None or math.isnan(value):
        return "—"
    return "∞" if math.isinf(value) else f"{value:.3g}"


def seconds(value: float) -> str:
    """A duration."""
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def plain(text: str) -> str:
    """Without characters that steer the text instead of being shown, such as those that reverse its direction."""
    steering = ("Cc", "Cf", "Cs")
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in steering and c != "\n" else c for c in text)


def name(text: str, most: int = 60) -> str:
    """A name of any length, cut where it gets too long to be one."""
    shown = plain(text[:most].replace("\n", " "))
    return shown if len(text) <= most else shown[: most - 1] + "…"


def outcome(text: str) -> str:
    """How an attack ended, in words."""
    return text.lower().replace("_", " ").replace("nonfinite", "not finite")


def label(task: str, role: str) -> str:
    """An attack and its settings, and what it is for unless that is robust accuracy itself."""
    return task.partition(" @ ")[0] + ("" if role in ("main", "curve", "pairs") else f" ({role})")


def radius(eps: float) -> str:
    """A radius as people write it: 8/255 where it is one, else the number."""
    number, steps = f"{eps:.6g}", eps * 255
    if 1 <= round(steps) <= 64 and abs(steps - round(steps)) < 1e-3 and float(f"{eps:.2g}") != float(number):
        return f"{round(steps)}/255"
    return number


def threat(text: str) -> str:
    """A threat as a formula."""
    kind, eps = split(text)
    return f"{SYMBOLS.get(kind, kind)} ≤ {radius(eps)}" if math.isfinite(eps) else SYMBOLS.get(kind, kind)


def meaning(text: str) -> str:
    """A threat as a sentence without its beginning."""
    kind, eps = split(text)
    return MEANINGS.get(kind, f"{kind} of at most {{eps}}").format(eps=radius(eps))


def split(text: str) -> tuple[str, float]:
    """The kind of a threat and its radius."""
    made = as_threat(text)
    return type(made).__name__.lower(), made.reach
