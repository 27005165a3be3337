"""Where a method comes from."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication, as much of it as a reference list needs."""

    key: str
    title: str
    authors: str
    year: int
    venue: str
    arxiv: str = ""

    @property
    def bibtex(self) -> str:
        """One BibTeX entry."""
        lines = [f"  title = {{{self.title}}}", f"  author = {{{self.authors}}}", f"  year = {{{self.year}}}"]
        lines.append(f"  booktitle = {{{self.venue}}}")
        if self.arxiv:
            lines += ["  archiveprefix = {arXiv}", f"  eprint = {{{self.arxiv}}}"]
        return f"@inproceedings{{{self.key},\n" + ",\n".join(lines) + "\n}"

    def __str__(self) -> str:
        return f"{self.authors}. {self.title}. {self.venue}, {self.year}."


def papers(method: object) -> list[Paper]:
    """The papers of a method and of the methods it is composed of, each once, in order of use."""
    found: list[Paper] = []
    paper = getattr(method, "paper", None)
    if isinstance(paper, Paper):
        found.append(paper)
    if isinstance(method, list | tuple):
        parts: Iterable[object] = method
    else:
        parts = (getattr(method, f.name) for f in fields(method)) if is_dataclass(method) else ()
    for part in parts:
        found += papers(part)
    return list(dict.fromkeys(found))


def cite(*methods: object) -> str:
    """BibTeX of every technique that `methods` use."""
    return "\n\n".join(paper.bibtex for paper in papers(methods))
