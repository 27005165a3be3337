"""What the papers of the decision-based attacks promise, beyond the laws."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.attacks.decision.boundary import Boundary
from saddlepoint.attacks.decision.hop_skip_jump import HopSkipJump, directions
from saddlepoint.attacks.decision.noise import BlendedNoise, SaltAndPepper
from saddlepoint.attacks.decision.pointwise import Pointwise
from saddlepoint.attacks.decision.rays import RayS, blocks
from saddlepoint.attacks.decision.sign_opt import SignOPT
from saddlepoint.attacks.decision.sur_free import SurFree
from saddlepoint.core.game import Game
from saddlepoint.core.noise import Noise
from saddlepoint.ops.images import cosines
from saddlepoint.ops.norms import pixels
from saddlepoint.testing.oracles import Wavy

WALKS = [Boundary(steps=40), SurFree(steps=40), SignOPT(steps=5, evaluations=40)]


def named(attack):
    return type(attack).__name__


def watch(monkeypatch, attack, look):
    """Show every state that the attack yields to `look(game, rows)`."""
    run = type(attack).run

    def watched(self, game):
        steps = run(self, game)
        rows = next(steps)
        while True:
            look(game, rows)
            try:
                rows = steps.send((yield rows))
            except StopIteration:
                return

    monkeypatch.setattr(type(attack), "run", watched)


@pytest.mark.parametrize("attack", WALKS, ids=named)
def test_a_walk_stays_on_the_winning_side_and_never_goes_back(attack, monkeypatch):
    model = Wavy()
    x, y = model.inputs(5)
    last, looks = torch.full((5,), torch.inf), 0

    def look(game, rows):
        nonlocal looks
        if not ({"around", "most", "spread"} & set(rows.__dict__)):
            return  # it has not begun yet
        looks += 1
        assert (model.answer(rows.point).argmax(1) != y[game.index]).all()
        now = (rows.point - game.x).flatten(1).norm(dim=1)
        assert (now <= last[game.index] * (1 + 1e-5)).all()
        last[game.index] = now

    watch(monkeypatch, attack, look)
    result = sp.attack(model, x, y, "l2", attack)
    assert looks >= attack.steps - 1
    assert (result.size <= last * (1 + 1e-5)).all()


def test_the_radius_of_rays_never_grows_and_is_measured_to_the_tolerance(monkeypatch):
    model, attack = Wavy(), RayS(steps=300)
    x, y = model.inputs(5)
    last = torch.ones(5)

    def look(game, rows):
        assert (rows.radius <= last).all()
        last.copy_(rows.radius)

    watch(monkeypatch, attack, look)
    result = sp.attack(model, x, y, "linf", attack)
    assert result.rows(sp.Outcome.FOUND).all()
    assert torch.allclose(result.size, last, rtol=1e-4)
    assert (result.queries == 301).all()
    corner = ((result.x_adv - x).abs() - last.view(-1, 1, 1, 1)).abs() < 1e-5
    assert (corner | (result.x_adv == 0) | (result.x_adv == 1)).all()


def test_blocks_cover_all_features_on_every_level():
    plan = blocks(10, 1 + 1 + 2 + 4 + 5 + 10).tolist()
    assert plan[:4] == [[0, 0], [0, 10], [0, 5], [5, 10]]
    for begin, end in ((1, 2), (2, 4), (4, 8), (8, 13), (13, 23)):
        assert {i for a, b in plan[begin:end] for i in range(a, min(b, 10))} == set(range(10))


@pytest.mark.parametrize("threat", ["l0", "l1"])
def test_no_pixel_that_pointwise_leaves_can_be_restored_alone(threat):
    model = Wavy((3, 4, 4))
    x, y = model.inputs(6)
    result = sp.attack(model, x, y, threat, Pointwise(restarts=2))
    found = result.rows(sp.Outcome.FOUND)
    assert found.any()
    for row in found.nonzero().squeeze(1).tolist():
        now, before = result.x_adv[row : row + 1], x[row : row + 1]
        if threat == "l0":
            now, before = pixels(now), pixels(before)
        else:
            now, before = now.flatten(1)[:, None], before.flatten(1)[:, None]
        changed = (now != before).any(1)[0].nonzero().squeeze(1).tolist()
        for pixel in changed:
            restored = now.clone()
            restored[..., pixel] = before[..., pixel]
            assert model.answer(restored.view(1, 3, 4, 4)).argmax(1) == y[row]


def test_salt_and_pepper_paints_black_or_white_and_all_channels_of_a_pixel():
    model = Wavy((3, 4, 4))
    x, y = model.inputs(6)
    result = sp.attack(model, x, y, "l0", SaltAndPepper())
    assert result.rows(sp.Outcome.FOUND).any()
    painted = pixels(result.x_adv != x).any(1, keepdim=True).expand(-1, 3, -1)
    values = pixels(result.x_adv)
    assert ((values == 0) | (values == 1))[painted].all()
    assert (values.amin(1) == values.amax(1))[painted[:, 0]].all()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("share", "dimensions"), [(1.0, 64), (0.5, 16)])
def test_probes_of_an_estimate_are_orthogonal_and_fair(flat, share, dimensions):
    model = Wavy((1, 8, 8))
    x, y = model.inputs(400)
    game = Game(model, x, sp.Untargeted(y), sp.L2(1.0), noise=Noise(0, torch.arange(400)))
    u = directions(game, dimensions + 3, flat, share)
    assert u.shape == (400, dimensions + 3, 1, 8, 8)
    first = u[:, :dimensions].flatten(2)
    assert torch.allclose(first @ first.mT, torch.eye(dimensions).expand(400, -1, -1), atol=1e-4)
    waves = cosines(8, 1.0, x).float()
    spectrum = torch.einsum("ih,bmchw,jw->bmcij", waves, u, waves)
    high = torch.arange(8) >= 8 * share
    assert spectrum[..., high[:, None] | high].abs().sum() < 1e-2
    assert u.flatten(2).mean((0, 1)).abs().max() < 0.02  # no side of any feature is preferred


def test_surfree_takes_directions_orthogonal_to_those_before(monkeypatch):
    model, attack = Wavy((1, 8, 8)), SurFree(steps=30, remembered=6)
    x, y = model.inputs(3)
    seen = []

    def look(game, rows):
        if "past" in rows.__dict__ and len(seen) < 12:
            seen.append(rows.past.flatten(2).clone())

    watch(monkeypatch, attack, look)
    sp.attack(model, x, y, "l2", attack)
    grams = seen[11] @ seen[11].mT
    assert torch.allclose(grams, torch.eye(6).expand_as(grams), atol=0.1)  # up to what turning with the way out takes


WALK_IN = [*WALKS, HopSkipJump(steps=2), Pointwise(restarts=1)]
NOT_IN = [RayS(steps=200), SaltAndPepper(steps=20), BlendedNoise(steps=20)]


def first_norm(attack):
    return attack.threats[0].unbounded()


@pytest.mark.parametrize("attack", [*WALK_IN, *NOT_IN], ids=named)
def test_a_limit_is_used_up_exactly(attack):
    model = Wavy()
    x, y = model.inputs(4)
    free = sp.attack(model, x, y, first_norm(attack), attack)
    for limit in (17, 60):
        limited = sp.attack(model, x, y, first_norm(attack), attack, queries=limit)
        assert torch.equal(limited.queries, free.queries.clamp_max(limit))


@pytest.mark.parametrize("attack", WALK_IN, ids=named)
def test_a_given_start_leads_to_a_rare_target(attack):
    model = Wavy(classes=12)
    pool, labels = model.inputs(300)
    counts = labels.bincount(minlength=12)
    target = int(torch.where(counts > 0, counts, 300).argmin())
    x, start = pool[labels != target][:4], pool[labels == target][:1].expand(4, -1, -1, -1)
    goal = sp.Targeted(torch.full((4,), target))
    result = sp.attack(model, x, goal, first_norm(attack), attack, starts=start)
    assert result.rows(sp.Outcome.FOUND).all(), str(result)
