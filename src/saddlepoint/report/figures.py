"""The security curve as an inline SVG that follows the page's colors and passes its content security policy."""

import io
import math
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.trust.during import DECADES
from saddlepoint.report import words

INK, FAINT, MARK = "#5e0100", "#5e0101", "#5e0102"
SERIES = [f"#5e000{i}" for i in range(6)]
# Colors are drawn as these, and become variables of the style sheet, which knows light and dark.
VARIABLES = {INK: "var(--ink)", FAINT: "var(--line)", MARK: "var(--muted)"}
VARIABLES |= {color: f"var(--s{i})" for i, color in enumerate(SERIES)}
MARKERS = "os^DvP"
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def curve_svg(run: Run, result: dict[str, Any]) -> str:
    """Accuracy over radius with 95 % bands, a line a subject.

    No text of the user's is drawn: names are in the page's own legend, so that they need no escaping here.
    """
    import matplotlib  # heavy, and needed for this one figure only
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "saddlepoint", "svg.fonttype": "none", "font.size": 10})
        figure = Figure(figsize=(6.8, 3.7), layout="constrained")
        axes = figure.add_subplot()
        for number, subject in enumerate(result["subjects"]):
            if subject["clean"]["n"]:  # what nobody has looked at is not drawn as if it stood
                _line(axes, number, subject)
        _frame(axes, run)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    kind, eps = words.split(run.spec.threat)
    label = (
        f"Security curve: accuracy over the {words.SYMBOLS.get(kind, kind)} radius; the main radius is {words.radius(eps)}"
    )
    return inline(out.getvalue(), label)


def loss_svg(margins: list[list[float]]) -> str:
    """Margins over the steps of one attack: the middle example, the middle half, and the extremes."""
    low, first, middle, third, high = zip(*margins, strict=True)
    steps = range(len(margins))

    def draw(axes: Any) -> None:
        axes.fill_between(steps, low, high, color=SERIES[0], alpha=0.12, linewidth=0)
        axes.fill_between(steps, first, third, color=SERIES[0], alpha=0.25, linewidth=0)
        axes.plot(steps, middle, color=SERIES[0], linewidth=2)
        axes.axhline(0, color=MARK, linewidth=1.2, linestyle=(0, (5, 3)))
        axes.set(xlabel="step", ylabel="margin of the right class")

    return _small(draw, "Margins of the examples over the steps of the watched attack; below zero an example is broken")


def norms_svg(norms: list[int]) -> str:
    """How many gradients had a norm in each decade; the first bar counts exact zeros."""
    names = ["0", *(f"1e{d}" for d in DECADES)]
    filled = [i for i, count in enumerate(norms) if count] or [0]
    last = max(filled[-1], 1)
    begin = min((i for i in filled if i), default=1)
    shown = [0, *range(begin, last + 1)]

    def draw(axes: Any) -> None:
        axes.bar(range(len(shown)), [norms[i] for i in shown], color=SERIES[0], alpha=0.85)
        axes.set_xticks(range(len(shown)), [names[i] for i in shown])
        axes.set(xlabel="norm of the gradient, from", ylabel="gradients")

    return _small(draw, f"Histogram of gradient norms; {norms[0]} of {sum(norms)} are exactly zero")


def _small(draw: Callable[[Any], None], label: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "saddlepoint", "svg.fonttype": "none", "font.size": 10})
        figure = Figure(figsize=(4.6, 2.7), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        _plain(axes)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return inline(out.getvalue(), label)


def _line(axes: Any, number: int, subject: dict[str, Any]) -> None:
    eps = [point["eps"] for point in subject["curve"]]
    value = [math.nan if point["value"] is None else 100 * point["value"] for point in subject["curve"]]
    low, high = ([100 * point[side] for point in subject["curve"]] for side in ("low", "high"))
    color = SERIES[number % len(SERIES)]
    axes.fill_between(eps, low, high, color=color, alpha=0.16, linewidth=0)
    axes.plot(
        eps, value, color=color, linewidth=2, marker=MARKERS[(number + number // len(SERIES)) % len(MARKERS)],
        markersize=5.5, linestyle="-" if subject["verdict"]["valid"] else (0, (2, 2)), clip_on=False, zorder=3,
    )  # fmt: skip


def _frame(axes: Any, run: Run) -> None:
    kind, eps = words.split(run.spec.threat)
    axes.axvline(eps, color=MARK, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(
        f"ε = {words.radius(eps)}", (eps, 1), xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", va="top", color=INK,
    )  # fmt: skip
    axes.set(ylim=(0, 110), ylabel="accuracy left (%)", xlabel=words.AXES.get(kind, f"radius of {kind}"))
    axes.set_xlim(left=0)
    axes.set_yticks(range(0, 101, 20))
    _plain(axes)


def _plain(axes: Any) -> None:
    """Quiet axes."""
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, pad=6)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MARK)


def inline(svg: bytes, label: str) -> str:
    """Matplotlib's SVG as part of an HTML page: no style attributes, no names of namespaces, no metadata."""
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style") or "metadata" in child.tag or child.tag == f"{SVG}title":
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        attributes = {key.removeprefix(XLINK): value for key, value in element.attrib.items()}
        attributes |= _presentation(attributes.pop("style", ""))
        element.attrib.clear()
        element.attrib.update({key: VARIABLES.get(value, value) for key, value in attributes.items()})
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"role": "img", "aria-label": label})
    return ElementTree.tostring(root, encoding="unicode")


def _presentation(style: str) -> dict[str, str]:
    """Declarations as attributes; a font's family is the page's."""
    found = {}
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            size = re.search(r"[\d.]+px", value)
            found["font-size"] = size.group() if size else "10px"
        elif (key and not key.startswith("font-")) or key == "font-size":
            found[key] = value
    return found
