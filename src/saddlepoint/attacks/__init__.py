"""Attacks: one file each. `saddlepoint.attacks.<Name>` is any registered one, plug-ins among them, learned or not."""

from typing import Any

from saddlepoint.core.registry import registry


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    found = registry("attack").classes | registry("learned").classes
    if name not in found:
        raise AttributeError(f"module 'saddlepoint.attacks' has no attribute {name!r}; it has {', '.join(sorted(found))}")
    return found[name]


def __dir__() -> list[str]:
    return sorted(registry("attack").names() + registry("learned").names())
