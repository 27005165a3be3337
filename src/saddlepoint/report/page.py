"""One HTML file that needs nothing else: no network, no model, no data, only a run's records."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.store import write_atomically
from saddlepoint.report import tables, words
from saddlepoint.report.figures import curve_svg
from saddlepoint.report.gallery import Gallery

LIMIT = 1_000_000  # bytes of the whole file


@dataclass(frozen=True)
class Room:
    """How much of what could be shown is shown.

    Attributes:
        items: examples in the gallery.
        side: longest side of a picture, in pixels.
        spec: whether the whole specification is in the page.
    """

    items: int
    side: int
    spec: bool = True


# Fewer pictures first, smaller ones next; the last resort is for class names or specifications without measure.
ROOMS = [Room(items, side) for side in (112, 80, 56, 40) for items in (60, 42, 30, 20)]
ROOMS += [Room(12, 40), Room(6, 40), Room(0, 40), Room(0, 40, spec=False)]


def write_report(run: Run) -> Path:
    """Write report.html into the run's folder; its path.

    Raises RunError when the folder cannot be read, OSError when it cannot be written.
    """
    path = run.folder / "report.html"
    write_atomically(path, render(run).encode())
    return path


def render(run: Run) -> str:
    """The page, smaller than a megabyte: what has no room is left out, and the page says so."""
    gallery = Gallery(run, ROOMS[0].items)
    template = _environment().get_template("page.html.j2")
    context = _context(run)
    page = ""
    for room in ROOMS:
        page = template.render(
            **context,
            gallery=gallery.shown(room.items, room.side),
            spec=tables.spec_text(run) if room.spec else "",
        )
        if len(page.encode()) < LIMIT:
            break
    return page


def _context(run: Run) -> dict[str, Any]:
    """All but the gallery and the specification, whose share depends on the room there is."""
    result = run.result()
    style, script = _asset("style.css"), _asset("filter.js")
    policy = [
        "default-src 'none'",
        f"style-src '{_hash(style)}'",
        f"script-src '{_hash(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return {
        "policy": Markup("; ".join(policy)),
        "style": Markup(style),
        "script": Markup(script),
        "run": tables.overview(run, result),
        "subjects": [tables.subject(run, s, made) for s, made in zip(run.spec.subjects, result["subjects"], strict=True)],
        "matrices": tables.matrices(run, result),
        "curve": Markup(curve_svg(run, result)),
        "radii": tables.curve_rows(result),
        "costs": tables.costs(result),
        "provenance": tables.provenance(run),
        "bibtex": result["bibtex"],
    }


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("saddlepoint.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update({name: getattr(words, name) for name in words.FILTERS})
    return made


@cache
def _asset(name: str) -> str:
    return files("saddlepoint.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls this very text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
