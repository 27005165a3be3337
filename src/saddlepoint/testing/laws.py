"""The laws: what is true of every attack, whatever it does inside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, Seeks
from saddlepoint.core.config import digest, from_json, from_toml, to_json, to_toml
from saddlepoint.core.errors import AccessError
from saddlepoint.core.goal import Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper
from saddlepoint.core.play import attack as play
from saddlepoint.core.registry import registry
from saddlepoint.core.result import Outcome, Result
from saddlepoint.core.threat import Threat
from saddlepoint.testing.oracles import Broken, Constant, HalfSpace, Oracle, Plane, Shattered, Wavy, exact_distance
from saddlepoint.threats import L0, L1, L2, Linf

NORMS = (Linf, L2, L1, L0, Plane)
DISTANCE = {Linf: 0.02, L2: 0.1, L1: 0.15, L0: 0.3, Plane: 0.02}
FORBIDDEN = (
    "max_iter", "n_iter", "nb_iter", "num_steps", "n_steps", "iterations", "alpha", "lr", "eps_step", "eps", "n_restarts",
    "use_rs", "random_init", "max_queries", "kappa", "targeted",
)  # fmt: skip


@dataclass(frozen=True)
class Law:
    """One law for one attack: call it; it raises AssertionError when broken."""

    name: str
    check: Callable[[Attack], None]
    attack: Attack

    def __call__(self) -> None:
        self.check(self.attack)

    def __str__(self) -> str:
        return f"{type(self.attack).__name__}-{self.name}"


LAWS: list[Callable[[Attack], None]] = []


def law(check: Callable[[Attack], None]) -> Callable[[Attack], None]:
    """Put a function on the statute book."""
    LAWS.append(check)
    return check


def laws(attack: Attack) -> list[Law]:
    """All laws for one attack.

    Give an expensive attack with few steps, as long as it still keeps its `slack`.
    """
    return [Law(check.__name__, check, attack) for check in LAWS]


# -- what a law needs ------------------------------------------------------------------------------------------------


def norms_of(attack: Attack) -> Iterator[type[Any]]:
    """The norms, and the threat of a few parameters, that the attack can search."""
    for norm in NORMS:
        if issubclass(norm, attack.threats):
            yield norm


def radius(attack: Attack, norm: type[Any], x: Tensor, model: HalfSpace, factor: float) -> Threat:
    """A ball of `factor` times the exact distance of the farthest (above 1) or nearest (below 1) row."""
    distance = exact_distance(norm, model, x)
    eps = float(distance.max() if factor >= 1 else distance.min()) * factor
    if norm is L0:
        eps = float(np.ceil(eps)) if factor >= 1 else float(distance.min() - 1)
    return norm(eps)


def roomy(norm: type[Any]) -> Threat:
    """A ball in which attacks have something to do on the wavy model."""
    return norm({Linf: 0.15, L2: 0.6, L1: 1.5, L0: 6.0, Plane: 0.3}[norm])


def zeros(x: Tensor) -> Tensor:
    """Labels 0."""
    return torch.zeros(len(x), dtype=torch.int64)


def same(a: Result, b: Result, exact: bool = True) -> None:
    """Two results agree: outcomes and counts exactly, inputs up to the rounding of elementary functions."""
    assert torch.equal(a.outcome, b.outcome), f"outcomes differ: {a.outcome.tolist()} and {b.outcome.tolist()}"
    if exact:
        assert torch.allclose(a.x_adv, b.x_adv, rtol=0, atol=1e-5), "adversarial inputs differ"
        assert torch.equal(a.queries, b.queries), "query counts differ"
    finite = a.size.isfinite()
    assert torch.equal(finite, b.size.isfinite()), "failures differ"
    assert torch.allclose(a.size[finite], b.size[finite], rtol=1e-5 if exact else 0.02, atol=1e-5 if exact else 1e-4), (
        "sizes differ"
    )


def subset(result: Result, index: Tensor) -> Result:
    """Some rows of a result."""
    columns = {f.name: getattr(result, f.name) for f in fields(result)}
    return Result(**{k: v[index] if isinstance(v, Tensor) else v for k, v in columns.items()})


# -- strength --------------------------------------------------------------------------------------------------------


@law
def finds(attack: Attack) -> None:
    """It wins on a half-space once the radius is `slack` times the exact distance, untargeted and targeted."""
    for norm in norms_of(attack):
        for classes in (2, 3):
            model = HalfSpace(classes=classes)
            x = model.inputs(6, DISTANCE[norm], norm=norm)
            threat = radius(attack, norm, x, model, attack.slack)
            for goal in (Untargeted(zeros(x)), Targeted(zeros(x) + 1)):
                result = play(model, x, goal, threat, attack)
                assert result.rows(Outcome.FOUND).all(), f"{goal} {threat}: {result}"


@law
def never_beats_the_optimum(attack: Attack) -> None:
    """It claims nothing inside a radius that holds no adversarial input."""
    for norm in norms_of(attack):
        model = HalfSpace(classes=2)
        x = model.inputs(4, DISTANCE[norm], norm=norm)
        result = play(model, x, zeros(x), radius(attack, norm, x, model, 0.97), attack)
        assert not result.rows(Outcome.FOUND).any(), f"{norm.__name__}: {result}"
        assert not result.rows(Outcome.ESCAPED).any(), f"{norm.__name__}: {result}"
        if attack.seeks is Seeks.MINIMUM:
            optimum = exact_distance(norm, model, x)
            assert (result.size >= optimum * (1 - 1e-4)).all(), f"{result.size} below {optimum}"


@law
def near_optimal(attack: Attack) -> None:
    """A minimum-norm attack comes within `slack` of the optimum, without being given a radius."""
    if attack.seeks is Seeks.MINIMUM:
        for norm in norms_of(attack):
            model = HalfSpace(classes=2)
            x = model.inputs(6, DISTANCE[norm], norm=norm)
            result = play(model, x, zeros(x), norm.unbounded(), attack)
            assert result.rows(Outcome.FOUND).all(), str(result)
            optimum = exact_distance(norm, model, x)
            assert (
                result.size <= torch.ceil(optimum * attack.slack) if norm is L0 else result.size <= optimum * attack.slack
            ).all()


@law
def many_classes(attack: Attack) -> None:
    """A thousand classes change nothing."""
    norm = next(norms_of(attack))
    model = HalfSpace(classes=1000)
    x = model.inputs(2, DISTANCE[norm], norm=norm)
    result = play(model, x, zeros(x), radius(attack, norm, x, model, attack.slack), attack)
    assert result.rows(Outcome.FOUND).all(), str(result)


@law
def corner_inputs(attack: Attack) -> None:
    """Inputs whose features are all 0 or 1 can be attacked, too."""
    for norm in norms_of(attack):
        model = HalfSpace(classes=2)
        x = (model.weight.detach() > 0).float().view(1, *model.shape).repeat(3, 1, 1, 1)
        x[1, 0, 0], x[2, 0, 1] = 1 - x[1, 0, 0], 1 - x[2, 0, 1]
        if norm is Plane or attack.slack > 2:
            continue  # a blind search need not; a plane moves all features at once, and half of them away from the plane
        wide = {Linf: Linf(0.9), L2: L2(3.6), L1: L1(14), L0: L0(15)}[norm]
        threat = norm.unbounded() if attack.seeks is Seeks.MINIMUM else wide
        result = play(model, x, zeros(x), threat, attack)
        if norm is L0 and attack.seeks is Seeks.MINIMUM:
            continue  # only features that can still be raised may change: it need not succeed, only end
        assert result.rows(Outcome.FOUND).all(), f"{norm.__name__}: {result}"


# -- honesty ---------------------------------------------------------------------------------------------------------


@law
def stays_inside(attack: Attack) -> None:
    """What it found is in the ball and in the box, of the shape and type of the input, and wins when asked again."""
    for norm in norms_of(attack):
        model = Wavy()
        x, y = model.inputs(6)
        threat = roomy(norm)
        result = play(model, x, y, threat, attack)
        found = result.rows(Outcome.FOUND)
        assert not result.rows(Outcome.ESCAPED).any(), str(result)
        assert result.x_adv.shape == x.shape and result.x_adv.dtype == x.dtype
        assert result.x_adv.min() >= 0 and result.x_adv.max() <= 1
        assert threat.contains(x, result.x_adv, result.theta)[found].all()
        assert (model.answer(result.x_adv).argmax(1) != y)[found].all()
        assert torch.allclose(threat.size(x, result.x_adv, result.theta)[found], result.size[found])
        if threat.parametric:
            assert torch.allclose(threat.apply(x, result.theta).clamp(0, 1)[found], result.x_adv[found], atol=1e-6)


@law
def on_the_grid(attack: Attack) -> None:
    """Asked for points on the 8-bit grid, it returns such, and they win after a trip through whole numbers."""
    for norm in norms_of(attack):
        model = Wavy()
        x, y = model.inputs(4)
        x = (x * 255).round() / 255
        result = play(model, x, y, roomy(norm), attack, quantize=256)
        found = result.rows(Outcome.FOUND)
        assert not result.rows(Outcome.ESCAPED).any(), str(result)
        loaded = (result.x_adv * 255).round().to(torch.uint8).to(torch.float32) / 255
        assert torch.equal(loaded, result.x_adv), "not on the grid"
        assert (model.answer(loaded).argmax(1) != y)[found].all()
        assert roomy(norm).contains(x, loaded, result.theta)[found].all()


@law
def constant_and_shattered(attack: Attack) -> None:
    """Where there is nothing to find or no gradient to follow, it says NOT_FOUND or finds by other means; it never fails."""
    for norm in norms_of(attack):
        for model in (Constant(), Shattered()):
            x, _ = Wavy().inputs(3)
            y = model.answer(x).argmax(1)
            result = play(model, x, y, roomy(norm), attack)
            legal = result.rows(Outcome.NOT_FOUND, Outcome.FOUND)
            assert legal.all() and result.x_adv.isfinite().all(), str(result)
            assert not (isinstance(model, Constant) and result.rows(Outcome.FOUND).any())


@law
def nan_is_never_a_win(attack: Attack) -> None:
    """A model that answers NaN is an alarm: neither broken nor robust."""
    norm = next(norms_of(attack))
    model = Broken(classes=2)
    x = model.inputs(3, DISTANCE[norm], norm=norm)
    threat = norm(16.0) if norm is L0 else norm(4 * float(exact_distance(norm, model, x).max()))
    result = play(model, x, zeros(x), threat, attack)
    assert not result.rows(Outcome.FOUND).any(), str(result)
    assert result.rows(Outcome.NONFINITE).any(), str(result)
    assert result.x_adv.isfinite().all()


@law
def already_wrong(attack: Attack) -> None:
    """Rows that are wrong when clean are reported with size 0, cost one query, and do not disturb the others."""
    norm = next(norms_of(attack))
    model = Wavy()
    x, y = model.inputs(5)
    wrong = y.clone()
    wrong[[0, 3]] = (wrong[[0, 3]] + 1) % 3
    mixed, right = (play(model, x, labels, roomy(norm), attack) for labels in (wrong, y))
    rows = torch.tensor([0, 3])
    assert (mixed.outcome[rows] == Outcome.ALREADY_WRONG).all() and (mixed.size[rows] == 0).all()
    assert torch.equal(mixed.x_adv[rows], x[rows]) and (mixed.queries[rows] == 1).all()
    others = torch.tensor([1, 2, 4])
    same(subset(mixed, others), subset(right, others))


# -- invariance ------------------------------------------------------------------------------------------------------


@law
def reproducible(attack: Attack) -> None:
    """Same seed, same bits; the global random states of torch and numpy are not touched."""
    norm = next(norms_of(attack))
    model = Wavy()
    x, y = model.inputs(4)
    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    first = play(model, x, y, roomy(norm), attack, seed=3)
    assert torch.equal(states[0], torch.get_rng_state()), "torch's global generator was used"
    assert states[1] == np.random.get_state()[1].tolist(), "numpy's global generator was used"  # type: ignore[index]
    torch.manual_seed(2)
    again = play(model, x, y, roomy(norm), attack, seed=3)
    same(first, again)
    assert torch.equal(first.x_adv, again.x_adv), "the same seed gave other bits"


@law
def batch_invariant(attack: Attack) -> None:
    """Permuting or splitting the batch permutes or splits the results.

    Up to 1e-5, because vectorized tanh and exp round by the place in memory.
    """
    for norm in norms_of(attack):
        model = Wavy()
        x, y = model.inputs(7)
        ids = torch.arange(7) * 11 + 5
        whole = play(model, x, y, roomy(norm), attack, ids=ids)
        order = torch.tensor([4, 2, 6, 0, 1, 5, 3])
        same(subset(whole, order), play(model, x[order], y[order], roomy(norm), attack, ids=ids[order]))
        same(whole, play(model, x, y, roomy(norm), attack, ids=ids, batch=3))
        same(subset(whole, torch.tensor([5])), play(model, x[5:6], y[5:6], roomy(norm), attack, ids=ids[5:6]))


@law
def logit_shift_and_scale(attack: Attack) -> None:
    """Adding to all logits, or multiplying them, changes nothing but rounding."""
    norm = next(norms_of(attack))
    x, y = Wavy().inputs(5, torch.float64)
    plain = play(Wavy(), x, y, roomy(norm), attack)
    for scale, shift in ((1024.0, 0.0), (1 / 1024, 0.0), (1.0, -50.0)):
        same(plain, play(Wavy(scale=scale, shift=shift), x, y, roomy(norm), attack), exact=shift == 0)


@law
def shapes_and_types(attack: Attack) -> None:
    """Vectors, gray and colored images, float32 and float64, no rows and one row."""
    norm = next(norms_of(attack))
    for shape in ((16,), (1, 4, 4), (3, 4, 4), (4, 4)):
        for dtype in (torch.float32, torch.float64):
            model = Wavy(shape)
            x, y = model.inputs(2, dtype)
            result = play(model, x, y, roomy(norm), attack)
            assert result.x_adv.shape == x.shape and result.x_adv.dtype == dtype
            assert not result.rows(Outcome.ESCAPED, Outcome.NONFINITE).any()
            assert len(play(model, x[:0], y[:0], roomy(norm), attack)) == 0
            assert len(play(model, x[:1], y[:1], roomy(norm), attack)) == 1


# -- manners ---------------------------------------------------------------------------------------------------------


@law
def leaves_no_trace(attack: Attack) -> None:
    """Inputs, labels, parameters and their gradients are afterwards as they were."""
    norm = next(norms_of(attack))
    model = Wavy()
    x, y = model.inputs(3)
    before = x.clone(), y.clone(), [p.detach().clone() for p in model.parameters]
    play(model, x, y, roomy(norm), attack)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1]), "inputs or labels were changed"
    assert not x.requires_grad and x.grad is None
    for parameter, value in zip(model.parameters, before[2], strict=True):
        assert torch.equal(parameter, value), "parameters were changed"
        assert parameter.grad is None, "gradients were left behind"


@law
def respects_access(attack: Attack) -> None:
    """It needs no more than it declares, and refuses a model that gives less."""
    norm = next(norms_of(attack))

    def model(access: Access) -> Oracle:
        return Wavy(access=access)

    x, y = Wavy().inputs(3)
    if attack.access is not Access.GRADIENTS:
        full = play(model(Access.GRADIENTS), x, y, roomy(norm), attack)
        same(full, play(model(attack.access), x, y, roomy(norm), attack))
        assert full.backwards == 0
    if attack.access > Access.NONE:
        try:
            play(model(Access(attack.access - 1)), x, y, roomy(norm), attack)
        except AccessError:
            return
        raise AssertionError(f"it ran on a model that gives less than {attack.access.name}")


@law
def counts_queries(attack: Attack) -> None:
    """Every row put to the model is counted, and none is put beyond the limit."""
    for norm in norms_of(attack):
        model = Wavy(access=max(attack.access, Access.LABELS))
        x, y = model.inputs(4)
        asked = model.asked
        result = play(model, x, y, roomy(norm), attack)
        assert model.asked - asked == result.forwards, f"{model.asked - asked} asked, {result.forwards} counted"
        rechecked = result.forwards - int(result.queries.sum())
        assert 0 <= rechecked <= len(x), f"{rechecked} queries belong to nobody"
        model = Wavy()
        limited = play(model, x, y, roomy(norm), attack, queries=4)
        assert (limited.queries <= 4).all() and model.asked <= 5 * len(x), str(limited.queries)
        rest = ~limited.rows(Outcome.FOUND)
        assert (limited.queries[rest] == result.queries[rest].clamp_max(4)).all()
        spent = rest & (result.queries > 4)
        assert (limited.outcome[spent] == Outcome.OUT_OF_QUERIES).all(), str(limited)


@law
def bounds_its_passes(attack: Attack) -> None:
    """`passes` is a true upper bound."""
    norm = next(norms_of(attack))
    model = Wavy()
    x, y = model.inputs(3)
    result = play(model, x, y, roomy(norm), attack)
    forwards, backwards = attack.passes(16, 3)
    assert result.queries.max() <= forwards + 1, f"{result.queries.max()} queries, {forwards} declared"
    assert result.gradients.max() <= backwards, f"{result.gradients.max()} gradients, {backwards} declared"


@law
def is_a_record(attack: Attack) -> None:
    """Its text makes it again; so do its TOML and its JSON; equal records have equal digests; it names its paper."""
    names = {name: cls for kind in ("attack", "threat") for name, cls in registry(kind).classes.items()}
    names[type(attack).__name__] = type(attack)
    assert eval(repr(attack), {"inf": float("inf"), **names}) == attack
    if registry("attack").classes.get(type(attack).__name__) is type(attack):
        assert from_toml(to_toml(attack), "attack") == attack
        assert from_json(to_json(attack), "attack") == attack
        assert digest(from_json(to_json(attack), "attack")) == digest(attack)
    assert isinstance(attack.paper, Paper) and (type(attack).__doc__ or "").strip()
    assert hash(attack) == hash(eval(repr(attack), {"inf": float("inf"), **names}))


@law
def speaks_the_language(attack: Attack) -> None:
    """Fields bear the names of the field's one vocabulary."""
    for f in fields(attack):  # type: ignore[arg-type]  # attacks are records
        assert f.name not in FORBIDDEN, f"{f.name} has another name here: see the table of names in CONTRIBUTING.md"
    name = type(attack).__name__
    assert name == "AutoAttack" or not name.endswith("Attack")  # that one is called so in its paper
