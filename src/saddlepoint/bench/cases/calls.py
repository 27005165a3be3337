"""How calls of libraries are written down."""

from typing import Any

from saddlepoint.bench.case import Call

ONCE = {"art": 1, "torchattacks": 1}


def call(attack: str, **parameters: Any) -> Call:
    return Call(attack, parameters)


def art(attack: str, n: int, **parameters: Any) -> Call:
    """A call of ART in one batch; left alone, it takes batches of 1 to 128."""
    return Call(attack, parameters | {"batch_size": n})
