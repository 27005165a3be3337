"""One change for every input: what universal attacks learn."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saddlepoint.core.attack import Attack, Rows, Seeks
from saddlepoint.core.config import record
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Game
from saddlepoint.core.goal import LeastLikely, Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.result import Share
from saddlepoint.threats import L2, Linf

UAP_PAPER = Paper(
    key="moosavi2017universal",
    title="Universal Adversarial Perturbations",
    authors="Moosavi-Dezfooli, Seyed-Mohsen and Fawzi, Alhussein and Fawzi, Omar and Frossard, Pascal",
    year=2017,
    venue="IEEE Conference on Computer Vision and Pattern Recognition",
    arxiv="1610.08401",
)


@dataclass(frozen=True, eq=False)
class Learned:
    """A learned change, and how it came about.

    Attributes:
        delta: (*shape) the change, in the units of the input.
        method: what learned it, as plain data.
        threat: the set that it was learned for, as text.
        bounds: of the inputs that it was learned on.
        fooled: the share of those inputs that it fooled.
        forwards: all forward passes spent on learning.
        backwards: all backward passes.
    """

    delta: Tensor
    method: dict[str, Any]
    threat: str
    bounds: tuple[float, float]
    fooled: Share
    forwards: int
    backwards: int

    @property
    def sha256(self) -> str:
        """Of the type, the shape and the numbers of delta."""
        array = self.delta.detach().cpu().contiguous().numpy()
        return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()

    def metadata(self) -> dict[str, str]:
        """Everything but delta, as safetensors keeps it: text by name."""
        return {
            "method": json.dumps(self.method),
            "threat": self.threat,
            "bounds": json.dumps(self.bounds),
            "fooled": json.dumps([self.fooled.count, self.fooled.n]),
            "passes": json.dumps([self.forwards, self.backwards]),
        }

    @classmethod
    def read(cls, path: str | Path) -> "Learned":
        """What a file holds; tensors besides `delta` may be in it, too. Raises InputError if it is not such a file."""
        try:
            with safe_open(path, framework="pt") as file:
                delta, texts = file.get_tensor("delta"), file.metadata()
            method, bounds, fooled, passes = (json.loads(texts[k]) for k in ("method", "bounds", "fooled", "passes"))
            return cls(delta, method, texts["threat"], (bounds[0], bounds[1]), Share(*fooled), *passes)
        except FileNotFoundError:
            raise InputError(f"There is no file {path}. Learn a perturbation with saddlepoint.fit, and save it.") from None
        except Exception as error:
            raise InputError(
                f"{path} holds no learned perturbation ({type(error).__name__}: {str(error)[:100]}). "
                "Give a file that Perturbation.save or `saddlepoint attack UAP --out` wrote."
            ) from None


@record
class Perturbation(Attack):
    """Add one and the same learned change to every input, clipped to the bounds: no search, and no question to the model.

    What `UAP` and `UniversalPGD` learn. A success rate far above that of noise of equal norm means that the boundaries of
    the model lie alike around many inputs. Played at a smaller radius than it was learned for, it is projected. What a
    `fit` returned can be played at once; `save` it to play it elsewhere, as on another network, from the file.

    Attributes:
        file: safetensors, as `save` writes them.
        sha256: of the change, so that a record means one change whatever becomes of the file; "" for any.
    """

    access: ClassVar = Access.NONE
    seeks: ClassVar = Seeks.BUDGET
    threats: ClassVar = (Linf, L2)
    goals: ClassVar = (Untargeted, Targeted, LeastLikely)
    paper: ClassVar = UAP_PAPER
    file: str = "perturbation.safetensors"
    sha256: str = ""

    @classmethod
    def of(cls, learned: Learned) -> "Perturbation":
        """The attack that plays what was just learned; no file has it yet."""
        made = cls(file="", sha256=learned.sha256)
        vars(made)["learned"] = learned  # where cached_property would keep what it read
        return made

    @cached_property
    def learned(self) -> Learned:
        """The change and how it came about, read from the file when first needed."""
        if not self.file:
            raise InputError(
                f"The perturbation {self.sha256[:8]!r} is known only where it was learned. "
                "Save it there: perturbation.save(path) returns one that is read from the file."
            )
        learned = Learned.read(self.file)
        if self.sha256 and learned.sha256 != self.sha256:
            raise InputError(
                f"{self.file} holds another perturbation than was meant: {learned.sha256[:8]}, not {self.sha256[:8]}. "
                "Restore the file, or leave sha256 out to play whatever it holds."
            )
        return learned

    def save(self, path: str | Path) -> "Perturbation":
        """Write the change to a file, and return the attack that reads it from there."""
        try:
            save_file({"delta": self.learned.delta.detach().cpu().contiguous()}, path, self.learned.metadata())
        except (OSError, SafetensorError) as error:
            raise InputError(f"Could not write {path} ({error}). Choose another path.") from error
        return type(self)(file=str(path), sha256=self.learned.sha256)

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 2, 0

    def run(self, game: Game) -> Iterator[Rows]:
        delta, bounds = self.learned.delta, self.learned.bounds
        if delta.shape != game.x.shape[1:]:
            raise InputError(
                f"The perturbation is for inputs of shape {tuple(delta.shape)}; got {tuple(game.x.shape[1:])}. "
                "Play it on such, or learn another."
            )
        if bounds != game.model.bounds:
            raise InputError(
                f"The perturbation is for inputs within {bounds}; this model's are within {game.model.bounds}. "
                "Wrap the model so that it takes the same inputs, or learn another."
            )
        game.submit(game.project(delta.to(game.x).expand_as(game.x)))
        yield Rows()
