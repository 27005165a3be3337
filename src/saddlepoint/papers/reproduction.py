"""A published table beside the one that is made here."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from saddlepoint.attacks.transfer.tables import Table
from saddlepoint.core.errors import InputError, UnknownName
from saddlepoint.core.paper import Paper
from saddlepoint.core.registry import did_you_mean

PAPERS = {
    "szegedy2014-halves": "saddlepoint.papers.szegedy2014_halves",
    "szegedy2014-transfer": "saddlepoint.papers.szegedy2014_transfer",
}
"""Modules with a function `make`, by the name of their table."""


@dataclass(frozen=True)
class Published:
    """What a paper prints.

    Attributes:
        paper: where.
        place: which table.
        columns: names, as here.
        rows: percentages by the name and kind of the row here, in the order of the columns.
        distortions: by the same.
        source: where the numbers were read.
    """

    paper: Paper
    place: str
    columns: tuple[str, ...]
    rows: dict[tuple[str, str], tuple[float, ...]]
    distortions: dict[tuple[str, str], float]
    source: str

    def data(self) -> dict[str, Any]:
        """Plain data."""
        rows = [
            {"name": name, "kind": kind, "percent": list(values), "distortion": self.distortions.get((name, kind))}
            for (name, kind), values in self.rows.items()
        ]
        place = {"paper": str(self.paper), "place": self.place, "source": self.source}
        return place | {"columns": list(self.columns), "rows": rows}


@dataclass(frozen=True)
class Reproduction:
    """Both tables, and what differs.

    Attributes:
        name: of the table.
        published: the paper's.
        table: the one made here.
        differences: what was done otherwise than in the paper, a sentence each.
    """

    name: str
    published: Published
    table: Table
    differences: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "command": f"saddlepoint paper {self.name}",
            "published": self.published.data(),
            "here": self.table.data(),
            "differences": list(self.differences),
        }

    @property
    def head(self) -> list[str]:
        """What stands over `texts`."""
        return self.table.head

    def texts(self) -> list[list[str]]:
        """Each row as it is here, and below it the row of the paper."""
        lines = []
        for row, text in zip(self.table.rows, self.table.texts(), strict=True):
            lines.append(text)
            key = row.name, row.kind
            if key in self.published.rows:
                size = self.published.distortions.get(key)
                values = [f"{value:g}" for value in self.published.rows[key]]
                lines.append(["  published", *values, "", "" if size is None else f"{size:.3f}"])
        return lines

    def markdown(self) -> str:
        """Both tables as one, in Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self.texts()]
        return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)

    def save(self, path: str | Path) -> None:
        """Write it as .json."""
        try:
            Path(path).write_text(json.dumps(self.data(), indent=1) + "\n")
        except OSError as error:
            raise InputError(f"Could not write {path} ({error}). Choose another path.") from None


def reproduce(
    name: str, *, limit: int | None = None, seed: int = 0, on_step: Callable[[str], None] | None = None
) -> Reproduction:
    """Make a table of a paper again.

    Args:
        name: one of `PAPERS`.
        limit: number of examples; None for as many as the table is made for.
        seed: key of all randomness.
        on_step: told what is done next.
    """
    if name not in PAPERS:
        raise UnknownName(f"There is no table named {name!r}.{did_you_mean(name, PAPERS)} There are: {', '.join(PAPERS)}.")
    made: Reproduction = import_module(PAPERS[name]).make(limit=limit, seed=seed, on_step=on_step or (lambda what: None))
    return made
