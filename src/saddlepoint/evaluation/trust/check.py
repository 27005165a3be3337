"""One line of evidence."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Stage = Literal["before", "during", "after"]


@dataclass(frozen=True)
class Check:
    """One line of evidence for or against a number.

    Attributes:
        name: short.
        passed: whether nothing is wrong.
        finding: what was seen, with its count.
        stage: whether it was looked for before the attacks, in them, or after them.
        remedy: what is done about it; "" if nothing can be, and then the number is not to be trusted.
    """

    name: str
    passed: bool
    finding: str
    stage: Stage = "after"
    remedy: str = ""

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
