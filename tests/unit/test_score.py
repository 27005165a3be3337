"""What the papers of the score-based attacks promise, beyond the laws."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import saddlepoint as sp
from saddlepoint.attacks.score.estimate import slope
from saddlepoint.core.attack import Attack, Rows
from saddlepoint.core.errors import AccessError
from saddlepoint.core.game import Game
from saddlepoint.core.goal import Targeted, Untargeted
from saddlepoint.core.model import Access
from saddlepoint.core.noise import Noise
from saddlepoint.ops.images import cosines
from saddlepoint.testing.oracles import HalfSpace, Wavy
from saddlepoint.threats import L2, Ball, Linf

A = sp.attacks


def game(model: HalfSpace | Wavy, x: Tensor, threat: Ball, goal: type = Untargeted) -> Game:
    """A game whose goal is to leave class 0, or to reach class 1."""
    y = torch.zeros(len(x), dtype=torch.int64) + (goal is Targeted)
    return Game(model, x, goal(y), threat, noise=Noise(0, torch.arange(len(x))))


def watched(played: Game, attack: Attack) -> Iterator[Rows]:
    """What an attack remembers at each of its yields, while nobody leaves."""
    run = played.stage(attack)
    with contextlib.suppress(StopIteration):
        rows = next(run)
        while True:
            yield rows
            rows = run.send(rows)


@pytest.mark.parametrize("basis", ["pixels", "dct"])
def test_simba_walks_no_farther_than_its_directions_are_long(basis: str) -> None:
    model = Wavy((3, 4, 4))
    x, y = model.inputs(6)
    attack = A.SimBA(steps=20, step_size=0.02, basis=basis)
    played = Game(model, x, Untargeted(y), L2(5.0), noise=Noise(0, torch.arange(6)))
    for step, rows in enumerate(watched(played, attack), start=1):
        assert (rows.walk.flatten(1).norm(dim=1) <= 0.02 * rows.tried.sqrt() + 1e-6).all()
        assert (played.live.queries <= step + 1).all()
        assert ((rows.tried <= step) & (2 * rows.tried >= step - 1)).all()  # one or two queries a direction


@pytest.mark.parametrize(("share", "count"), [(1.0, 7), (0.5, 4)])
def test_cosines_are_orthonormal(share: float, count: int) -> None:
    waves = cosines(7, share, torch.zeros(1))
    assert torch.allclose(waves @ waves.T, torch.eye(count, dtype=torch.float64), atol=1e-12)
    assert waves[0].std() < 1e-12


def test_simba_begins_with_low_frequencies() -> None:
    x, _ = Wavy((1, 8, 8)).inputs(3)
    order = A.SimBA(basis="dct", frequencies=0.25).order(game(Wavy((1, 8, 8)), x, L2(1.0)))
    rows, columns = order // 8, order % 8
    highest = torch.maximum(rows, columns)
    assert (highest[:, :4] < 2).all()
    assert (highest[:, 4:] >= 2).all()
    assert (order.sort(dim=1).values == torch.arange(64)).all()


@pytest.mark.parametrize("attack", ["NES", "SPSA"])
def test_the_estimate_on_a_linear_model_is_its_gradient(attack: str) -> None:
    model = HalfSpace(classes=2)
    x = model.inputs(2, 0.3, torch.float64)
    played = game(model, x, Linf(0.2))
    found = getattr(A, attack)(samples=20_000).estimate(played, torch.zeros_like(x) + 0.1).flatten(1)
    exact = 2 * model.weight.detach() / played.scale[:, None]
    assert torch.cosine_similarity(found, exact, dim=1).min() > 0.99
    assert torch.allclose(found.norm(dim=1), exact.norm(dim=1), rtol=0.05)


def test_probes_come_in_pairs_around_the_current_point() -> None:
    model = Wavy()
    x, _ = model.inputs(3)
    delta, seen = torch.zeros_like(x) + 0.05, []

    def value(probes: Tensor) -> Tensor:
        seen.append(probes)
        return probes.flatten(2).sum(2)

    played = game(model, x, Linf(0.2))
    slope(played, delta, value, played.noise.normal, 4, 1e-3)
    up, down = (torch.cat(seen, dim=1) - delta[:, None]).chunk(2, dim=1)
    assert torch.allclose(up, -down, atol=1e-7)
    assert up.abs().max() > 0


@pytest.mark.parametrize("goal", [Untargeted, Targeted])
@pytest.mark.parametrize("attack", ["PartialNES", "LabelNES"])
@pytest.mark.parametrize("top", [1, 2, 3])
def test_partial_information_reads_no_more_than_the_top(attack: str, top: int, goal: type) -> None:
    if (attack, top) == ("LabelNES", 1):
        return  # it has no scores to read: see below
    model = Wavy(classes=6)
    x, _ = model.inputs(4)
    played, chooser = game(model, x, Linf(0.1), goal), getattr(A, attack)(top=top)
    logits = Noise(1, torch.arange(4)).normal(30, 6, dtype=torch.float64).log_softmax(-1)
    order = logits.argsort(dim=-1, descending=True)
    tail = order[..., top:]
    swapped = logits.scatter(-1, tail, logits.gather(-1, tail).flip(-1))  # same top, same total, another order below

    def answers(with_logits: Tensor) -> list[Tensor]:
        played.noise = Noise(2, torch.arange(4))
        played.logits = lambda theta, population=False, where=None: with_logits if population else with_logits[:, 0]
        probes = x[:, None].expand(-1, 30, *x.shape[1:]) - x[:, None]
        everybody = torch.ones(4, dtype=torch.bool)
        return [chooser.value(played, probes), chooser.holds(played, x, everybody), chooser.begins(played, x, everybody)]

    for before, after in zip(answers(logits), answers(swapped), strict=True):
        assert torch.allclose(before.double(), after.double(), rtol=0, atol=1e-12)


def test_labels_suffice_for_the_top_one_only() -> None:
    model = Wavy(access=Access.LABELS)
    x, y = model.inputs(2)
    sp.attack(model, x, y, Linf(0.1), A.LabelNES(steps=2, samples=4, votes=1))
    with pytest.raises(AccessError):
        sp.attack(model, x, y, Linf(0.1), A.LabelNES(steps=2, samples=4, votes=1, top=2))


def test_a_targeted_walk_begins_at_the_given_start() -> None:
    model = HalfSpace(classes=2)
    x = model.inputs(4, 0.1)
    target = 1 - x  # the other side of the plane
    assert (model.answer(target).argmax(1) == 1).all()
    attack = A.PartialNES(steps=80, samples=20, attempts=1)
    goal = Targeted(torch.ones(4, dtype=torch.int64))
    assert sp.attack(model, x, goal, L2(0.15), attack, starts=target).success_rate.value == 1


@pytest.mark.parametrize("solver", ["adam", "newton"])
def test_zoo_counts_the_steps_of_each_feature(solver: str) -> None:
    model = Wavy()
    x, y = model.inputs(3)
    played = Game(model, x, Untargeted(y), L2.unbounded(), noise=Noise(0, torch.arange(3)))
    attack = A.ZOO(coordinates=5, steps=7, searches=1, solver=solver, step_size=0.05)
    for step, rows in enumerate(watched(played, attack), start=1):
        assert (rows.visits.sum(1) == 5 * step).all()
        assert (rows.visits.amax(1) - rows.visits.amin(1) <= 1).all(), "no feature waits for long"
        assert solver == "newton" or torch.equal(rows.count, rows.visits)
        assert ((rows.delta.flatten(1) != 0) <= (rows.visits > 0)).all(), "only chosen features move"


def test_bandits_learn_at_low_resolution() -> None:
    model = Wavy((1, 8, 8))
    x, y = model.inputs(2)
    played = Game(model, x, Untargeted(y), Linf(0.01), noise=Noise(0, torch.arange(2)))
    for rows in watched(played, A.Bandits(steps=5, cells=2)):
        blocks = rows.delta.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
        assert rows.prior.shape[1:] == (1, 2, 2)
        assert (blocks.amax(-1) - blocks.amin(-1) < 1e-6).all()
