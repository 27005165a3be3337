"""What fools one model, played on another."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator

from saddlepoint.attacks.ensemble.wrapper import Wrapper
from saddlepoint.attacks.gradient.momentum import MIFGSM
from saddlepoint.core.attack import Attack, Rows
from saddlepoint.core.config import record
from saddlepoint.core.errors import InputError
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.goal import Goal, Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.paper import Paper
from saddlepoint.core.play import as_model
from saddlepoint.models.ensemble import Ensemble
from saddlepoint.models.resolve import ZOO, resolve
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import saved_state


class Held(str):
    """What a record says of a model that was given as an object; the model goes with it, and is lost when it is written."""

    model: Model

    @classmethod
    def of(cls, model: Model) -> "Held":
        """The name of the model's class and, of a torch network, of its numbers."""
        name = type(getattr(model, "net", model)).__name__
        made = cls(f"object {name}" + (f" {_fingerprint(model.net)}" if isinstance(model, TorchModel) else ""))
        made.model = model
        return made


def _sources(given: Any) -> Any:
    """Names and objects, one or several, as a tuple of texts."""
    several = given if isinstance(given, list | tuple) else (given,)
    return tuple(Held.of(as_model(one)) if isinstance(one, Model | torch.nn.Module) else one for one in several)


def _kept(text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError("a model, or text that names one")
    return text


Named = Annotated[Any, BeforeValidator(_kept)]  # a Held stays one, which `str` would not let it


@record
class Transfer(Wrapper):
    """Play `attack` on a model of one's own, and show the model under attack only what came out: one question an example.

    The threat of an attacker who sees no answer at all. The rows are played to the attack's end, not to the first win,
    because what barely fools its source fools nothing else; a `confidence` (CarliniWagner, PGD) or the momentum family
    helps. Weak against a target that was trained otherwise than its source: several sources, played as one Ensemble, help
    with that. Not a bound on anything: what does not transfer may still exist.

    Attributes:
        attack: what to play on the source.
        source: the models to play on, of the same bounds and classes as the target: Models, or text, one or several. Text is
            "package.module:factory", an address, or "small-cnn@weights.safetensors" for weights that were saved; it is
            resolved when first played. With an object the attack can be played, but not written down to be played elsewhere.

    An untargeted attack moves the source away from the source's own answer, as who does not know the label would. Forward
    and backward passes of the source are not the target's, and are not counted.
    """

    access: ClassVar = Access.NONE
    paper: ClassVar = Paper(
        key="papernot2016transferability",
        title="Transferability in Machine Learning: from Phenomena to Black-Box Attacks Using Adversarial Samples",
        authors="Papernot, Nicolas and McDaniel, Patrick and Goodfellow, Ian",
        year=2016,
        venue="arXiv",
        arxiv="1605.07277",
    )
    attack: Attack = MIFGSM()
    source: Annotated[tuple[Named, ...], BeforeValidator(_sources)] = ()

    def passes(self, features: int, classes: int) -> tuple[int, int]:
        return 2, 0

    def run(self, game: Game) -> Iterator[Rows]:
        source = self.resolved(tuple(game.x.shape[1:]), game.model)
        x = game.x if source.device is None else game.x.to(source.device)
        with source.session():
            goal = aimed(game.goal, source, x)
            inner = Game(
                source, x, goal, game.given, noise=private(game.noise, x), seeks=self.attack.seeks, stop=Stop.NEVER,
                chunk=game.chunk, levels=game.levels,
            )  # fmt: skip
            inner.play(self.attack)
            best, _, _ = inner.verify()
        found = inner.all.theta if game.given.parametric else best - x
        game.submit(game.project(found.detach().to(game.x)))
        yield Rows()

    def resolved(self, shape: tuple[int, ...], target: Model) -> Model:
        """The source as one model, made when first needed."""
        if not self.source:
            raise InputError("Transfer needs a source: a model of your own, or text that names one. Write source=model.")
        known = vars(self).setdefault("_resolved", {})  # beside the fields, where a frozen record may keep what it made
        if shape not in known:
            models = [_named(text, shape) for text in self.source]
            known[shape] = models[0] if len(models) == 1 else Ensemble(models)
        source: Model = known[shape]
        if source.bounds != target.bounds:
            raise InputError(
                f"The source takes inputs within {source.bounds}, the model under attack within {target.bounds}. "
                "Wrap the source so that it takes the same inputs."
            )
        source.require(self.attack.access, type(self.attack).__name__, "Play one that needs less on this source.")
        return source


def aimed(goal: Goal, source: Model, x: torch.Tensor) -> Goal:
    """The goal on the source: away from its own answers, where the goal is only away."""
    if isinstance(goal, Untargeted):
        return Untargeted(source.labels(x).clamp_min(0))
    return goal.checked(len(x), x.device)


def private(noise: Noise, x: torch.Tensor) -> Noise:
    """The same rows' numbers for the game on the source."""
    return Noise(noise.seed, noise.ids, f"{noise.stream}/source", x.device)


@dataclass(frozen=True)
class _Shape:
    """All that is known of the data when an attack is played."""

    shape: tuple[int, ...]
    classes: tuple[str, ...]


def _named(text: str, shape: tuple[int, ...]) -> Model:
    if isinstance(text, Held):
        return text.model
    if text.startswith("object "):
        raise InputError(
            f"The source {text.removeprefix('object ')!r} is known only where it was given. "
            "Name it as package.module:factory, or save its weights and write small-cnn@weights.safetensors."
        )
    name, _, weights = text.partition("@")
    if "://" in text or not weights:
        if text in ZOO:
            raise InputError(f"{text} has no weights of its own. Save some, and write {text}@weights.safetensors.")
        return resolve(text, _Shape(shape, ()))
    if not Path(weights).exists():
        raise InputError(f"There is no file of weights at {weights}. Check the path.")
    classes = len(max(saved_state(weights).items())[1]) if name in ZOO else 0  # the last layer's name is the last
    return resolve(name, _Shape(shape, tuple(map(str, range(classes)))), weights=weights)


def _fingerprint(net: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]
