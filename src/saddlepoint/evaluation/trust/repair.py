"""Repair an attack: choose, by what was found and by what works, how the model is to be asked.

Nothing here can make a model look weaker than it is: whatever is found on a repaired model counts only if it fools the
model as it was given.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import attack
from saddlepoint.core.result import Outcome
from saddlepoint.core.threat import Threat
from saddlepoint.evaluation.trust.before import FEW, RARELY, Examination, attack_draws, blank_share, calls, find_stops
from saddlepoint.evaluation.trust.surrogate import scattered, stand_in, surrogate
from saddlepoint.models.expectation import ExpectationOver
from saddlepoint.models.guided import Confident, Guided, Judged
from saddlepoint.models.restated import LogProbabilities, OneByOne, in_double
from saddlepoint.models.straight_through import StraightThrough
from saddlepoint.models.torch import TorchModel

JURY = 50  # draws that judge a random model
TRIED_ON = 32  # examples on which recipes compete
TRIED_FOR = 20  # steps
SMOOTHING_DRAWS = 10
WIDTHS = (0.02, 0.1)  # of the smoothing noise, in widths of the bounds
MODULES = 40  # let through one after the other, at most


@dataclass(frozen=True)
class Recipe:
    """How a model is asked while it is attacked.

    Attributes:
        alone: one row at a time.
        double: in double precision.
        logarithm: probabilities as their logarithms.
        operations: gradients go through rounding, signs, comparisons and `detach`.
        through: modules that gradients go straight through.
        learned: modules that gradients go through by way of a small network taught to do the same.
        smooth: gradients are those of the mean over normal noise of this deviation, in widths of the bounds; 0 for none.
        surrogate: gradients are those of a small network taught to answer as the model.
        confident: refusals are pushed away by certainty of the answer.
        draws: answers averaged.
    """

    alone: bool = False
    double: bool = False
    logarithm: bool = False
    operations: bool = False
    through: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    smooth: float = 0.0
    surrogate: bool = False
    confident: bool = False
    draws: int = 1

    def words(self) -> list[str]:
        """What is done, a sentence's part each."""
        said = {
            "every example is asked alone": self.alone,
            "double precision": self.double,
            "logarithms of the probabilities": self.logarithm,
            "gradients straight through rounding and comparisons": self.operations,
            f"gradients straight through {', '.join(self.through)}": bool(self.through),
            f"a learned gradient for {', '.join(self.learned)}": bool(self.learned),
            f"gradients of the mean over noise of {self.smooth:g}": self.smooth > 0,
            "gradients of a network taught to answer alike": self.surrogate,
            "refusals pushed away by certainty": self.confident,
            f"the mean of {self.draws} draws": self.draws > 1,
        }
        return [words for words, done in said.items() if done]

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Recipe":
        """Read what `data` wrote."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})

    def apply(self, model: Model, x: Tensor, threat: Threat, seed: int = 0) -> Model:
        """The model to be attacked: the same answers, asked so that an attack can hear them.

        Args:
            model: as it was given.
            x: (n, *shape) examples, to learn gradients on where the recipe says so.
            threat: how far from them.
            seed: of all randomness.

        Raises:
            InputError: the recipe does not fit the model.
        """
        if self == Recipe():
            return model
        search = in_double(model) if self.double and isinstance(model, TorchModel) else model
        if self.through or self.learned or self.operations:
            ways: dict[str, Any] = dict.fromkeys(self.through, "identity")
            if not isinstance(search, TorchModel):
                raise SaddlepointError("Gradients can go through modules of a torch network only.")
            for name in self.learned:
                ways[name] = _learned(search, name, x, threat, seed)
            search = StraightThrough(search, ways, operations=self.operations)
        judge = model
        if self.alone:
            search, judge = OneByOne(search), OneByOne(judge)
        if self.logarithm:
            search = LogProbabilities(search)
        if self.confident:
            search = Confident(search)
        if self.smooth:
            width = self.smooth * (model.bounds[1] - model.bounds[0])

            def blur(rows: Tensor, noise: Noise) -> Tensor:
                return rows + width * noise.normal(*rows.shape[1:]).to(rows)

            search = Guided(search, ExpectationOver(search, SMOOTHING_DRAWS, transform=blur, seed=seed))
        if self.surrogate:
            search = Guided(search, surrogate(search, x, threat, seed))
        if self.draws > 1:
            search = ExpectationOver(search, self.draws, seed=seed)
            judge = ExpectationOver(judge, JURY, over="votes", seed=seed + 1)
        return Judged(search, judge)


@dataclass(frozen=True)
class Trial:
    """A recipe that was tried.

    Attributes:
        recipe: what.
        left: how many of the tried examples still stood.
        n: how many there were.
        passes: forward and backward rows it took.
    """

    recipe: Recipe
    left: int
    n: int
    passes: int

    def data(self) -> dict[str, Any]:
        """Plain data."""
        return {"recipe": self.recipe.data(), "words": self.recipe.words(), "left": self.left, "n": self.n}


def choose(
    model: Model, found: Examination, x: Tensor, y: Tensor, threat: Threat, *, seed: int = 0
) -> tuple[Recipe, list[Trial]]:
    """The recipe for a model: what the findings ask for, and where the gradient is the trouble, what works best.

    Args:
        model: as it was given.
        found: in its examination.
        x: (n, *shape) examples.
        y: (n,) labels.
        threat: where the attacks will search.
        seed: of all randomness.
    """
    lost = found.kind == "probabilities" and found.saturated > RARELY  # others serve as they are
    base = Recipe(
        alone=found.coupled,
        logarithm=lost,
        double=lost and isinstance(model, TorchModel),
        draws=attack_draws(found.draws) if found.random else 1,
    )
    if model.access < Access.GRADIENTS or not _troubled(model, base, found, x, y, threat, seed):
        return base, []
    trials: list[Trial] = []
    for recipe in [base, *_candidates(model, base, found, x)]:
        trial = _trial(model, recipe, x, y, threat, seed)
        if trial is not None:
            trials.append(trial)
            if trial.left <= RARELY * trial.n:
                break  # good enough: the others could hardly do better
    return (min(trials, key=lambda t: t.left).recipe if trials else base), trials


def _troubled(model: Model, base: Recipe, found: Examination, x: Tensor, y: Tensor, threat: Threat, seed: int) -> bool:
    """Whether the gradient is missing or misleading even when the model is asked by the base recipe, or may be."""
    if model.rejection is not None:
        return True
    if found.slope is not None:
        return not found.downhill
    return blank_share(base.apply(model, x, threat, seed), x[:TRIED_ON], y[:TRIED_ON]) > RARELY


def _candidates(model: Model, base: Recipe, found: Examination, x: Tensor) -> list[Recipe]:
    made = []
    if isinstance(model, TorchModel):
        through, learned = _opened(model, x[:FEW], list(found.stops))
        if through or learned:
            made.append(replace(base, through=through, learned=learned))
        made.append(replace(base, operations=True))
        alike = _alike(model, x[:FEW])
        if alike and alike != through:
            made.append(replace(base, through=alike))
    if model.rejection is not None:
        made.append(replace(base, confident=True))
    return [*made, replace(base, surrogate=True), *(replace(base, smooth=width) for width in WIDTHS)]


def _opened(model: TorchModel, x: Tensor, stops: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modules to let gradients through, until they arrive: straight where shapes agree, else learned; none if that fails."""
    shapes = _shapes(model, x)
    through: list[str] = []
    learned: list[str] = []
    for _ in range(MODULES):
        fresh = [name for name in stops if name not in through + learned and name in shapes]
        if not fresh:
            break
        for name in fresh:
            given, made = shapes[name]
            (through if given.shape == made.shape else learned).append(name)
        ways: dict[str, Any] = dict.fromkeys(through, "identity")
        ways |= {name: _flat_stand_in(shapes[name][1]) for name in learned}
        try:
            stops = _stops_behind(StraightThrough(model, ways), x)
        except SaddlepointError:
            return (), ()
    return tuple(through), tuple(learned)


def _stops_behind(model: StraightThrough, x: Tensor) -> list[str]:
    """Further modules that stop gradients once some are let through."""
    with model.session(), model.hooked():
        skipped = {name for name, module in model.model.net.named_modules() if module in model.stand_ins}
        return [name for name in find_stops(model.model, x) if name not in skipped]


def _flat_stand_in(made: Tensor) -> Callable[[Tensor], Tensor]:
    """Something differentiable with the right shape of output, to see what comes behind it."""
    return lambda x: x.flatten(1).mean(1).view(-1, *(1,) * (made.dim() - 1)).expand(len(x), *made.shape[1:])


def _shapes(model: TorchModel, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What every module is given and makes of it."""
    with model.session(), torch.no_grad():
        return {name: (given, made) for name, given, made in calls(model, x)}


def _alike(model: TorchModel, x: Tensor) -> tuple[str, ...]:
    """The outermost modules that give back about what they are given, as purifiers do."""
    found: list[str] = []
    for name, (given, made) in _shapes(model, x).items():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if inside or given.shape != made.shape or given.shape[1:] != x.shape[1:] or torch.equal(given, made):
            continue
        both = torch.stack([given.flatten(), made.flatten()]).double()
        if float(torch.corrcoef(both)[0, 1].nan_to_num(0.0)) > 0.5:
            found = [inner for inner in found if not inner.startswith(f"{name}.")] + [name]
    return tuple(found)


def _learned(model: TorchModel, name: str, x: Tensor, threat: Threat, seed: int) -> nn.Module:
    """A network taught to do what a module of the model does."""
    pairs = [_shapes(model, part)[name] for part in scattered(x, threat, model.bounds, seed).split(64)]
    return stand_in(torch.cat([g for g, _ in pairs]), torch.cat([m for _, m in pairs]), seed)


def _trial(model: Model, recipe: Recipe, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Trial | None:
    """What a short attack leaves standing; None if the recipe cannot be applied."""
    some = slice(0, TRIED_ON)
    try:
        built = recipe.apply(model, x, threat, seed)
        result = attack(built, x[some], y[some], threat, PGD(steps=TRIED_FOR, loss="margin"), seed=seed)
    except SaddlepointError:
        return None
    left = int((~result.rows(Outcome.FOUND, Outcome.ALREADY_WRONG)).sum())
    return Trial(recipe, left, len(result), recipe.draws * (result.forwards + result.backwards))
