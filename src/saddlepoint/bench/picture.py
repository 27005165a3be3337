"""Time against strength: one panel a case, one point a library."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from saddlepoint.bench.case import Case
from saddlepoint.bench.cases import CASES
from saddlepoint.bench.rounds import FLOOR, OURS

COLORS = {
    OURS: "tab:red", FLOOR: "black", "foolbox": "tab:blue", "torchattacks": "tab:orange", "art": "tab:green",
    "adv-lib": "tab:purple", "cleverhans": "tab:brown", "autoattack": "tab:cyan",
}  # fmt: skip
MARKERS = {OURS: "*", FLOOR: "x"}


def file_name(group: str) -> str:
    """Where the picture of a group is kept: bench-minimum-norm.png."""
    return f"bench-{group.replace(',', '').replace(' ', '-').lower()}.png"


def picture(report: dict[str, Any], group: str, path: Path) -> bool:
    """Draw the measured cases of a group; False, and no file, where there is none.

    Left is fast, up is strong: success where a radius is given, else the median distance, upside down; who fails on half or
    more has no median, and is not drawn.
    """
    drawn = [case for case in CASES.values() if case.group == group and case.name in report["cases"]]
    if not drawn:
        return False
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.4, 2.5 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, case in zip(panels, drawn, strict=False):
        panel(axes, case, report["cases"][case.name]["results"])
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    handles = {text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 2 + 2 * columns), fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.savefig(path, dpi=110)
    return True


def panel(axes: Any, case: Case, results: dict[str, dict[str, Any]]) -> None:
    """One case."""
    for label, row in results.items():
        value = None if "error" in row else row["median"] if case.minimum else 100 * row["success"]
        if value is None or not row["ratio"]:
            continue
        library = label.split(" (")[0].removesuffix(" trainer")
        axes.scatter(
            row["ratio"], value, s=130 if label == OURS else 45, color=COLORS[library], marker=MARKERS.get(label, "o"),
            label="" if " (" in label else library, zorder=3 if label == OURS else 2,
            facecolors="none" if " (" in label else None,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(0.15)
    left, right = axes.get_xlim()
    axes.set_xlim(min(0.45, left), max(2.2, right))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    rest = max(0.0, (0.1 * high if case.minimum else 10) - (high - low)) / 2  # equal strength shall look equal
    axes.set_ylim(low - rest, high + rest)
    if case.minimum:
        axes.invert_yaxis()
    axes.set_title(case.name, fontsize=10)
    axes.set_xlabel("CPU time, ours = 1", fontsize=8)
    axes.set_ylabel("median distance" if case.minimum else "accuracy, %" if case.trains else "success, %", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
