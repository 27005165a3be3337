"""Names: what is built in is found by looking through a package, what others add by entry points."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from saddlepoint.core.errors import SaddlepointError, UnknownName

ROOMS = {
    "attack": ("saddlepoint.attacks", "saddlepoint.core.attack:Attack"),
    "learned": ("saddlepoint.attacks", "saddlepoint.core.attack:LearnedAttack"),
    "threat": ("saddlepoint.threats", "saddlepoint.core.threat:Threat"),
    "goal": ("saddlepoint.core.goal", "saddlepoint.core.goal:Goal"),
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence " Did you mean 'PGD'?", or nothing."""
    folded = {k.casefold(): k for k in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""


class Registry:
    """All concrete subclasses of `base` in `package`, and the entry points of the group `saddlepoint.<kind>`."""

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind = kind
        self.package = package
        module, _, name = base.partition(":")
        self.base: type = getattr(importlib.import_module(module), name)
        self.classes: dict[str, type] = {}
        for found in _modules(package):
            self._collect(found)
        for point in entry_points(group=f"saddlepoint.{kind}"):
            try:
                found = point.load()
            except Exception as error:
                raise SaddlepointError(
                    f"The plug-in {point.name} ({point.value}) failed: {error}. Repair or remove it."
                ) from error
            if not (inspect.isclass(found) and issubclass(found, self.base)):
                raise SaddlepointError(
                    f"The plug-in {point.name} ({point.value}) must be a class of {kind}s; got {found!r}."
                )
            self.add(found)

    def _collect(self, module: Any) -> None:
        for value in vars(module).values():
            own = inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, self.base)
            if own and not inspect.isabstract(value) and not value.__name__.startswith("_"):
                self.add(value)

    def add(self, cls: type) -> type:
        """Register a class under its own name; usable as a decorator."""
        self.classes[cls.__name__] = cls
        return cls

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.classes)

    def get(self, name: str) -> Any:
        """The class of that name, in any case of letters.

        Raises UnknownName, with the nearest name.
        """
        folded = {k.casefold(): v for k, v in self.classes.items()}
        if str(name).casefold() in folded:
            return folded[str(name).casefold()]
        raise UnknownName(
            f"There is no {self.kind} named {name!r}.{did_you_mean(str(name), self.classes)} "
            f"`saddlepoint list {'learned' if self.kind == 'learned' else self.kind + 's'}` shows all."
        )


def _modules(package: str) -> list[Any]:
    root = importlib.import_module(package)
    inside = pkgutil.walk_packages(getattr(root, "__path__", []), package + ".")
    return [root, *(importlib.import_module(info.name) for info in inside)]


@cache
def registry(kind: str) -> Registry:
    """The registry of one kind: "attack", "threat" or "goal"."""
    return Registry(kind, *ROOMS[kind])
