"""Composition: what stages share and what they do not."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.core.attack import Attack, Seeks
from saddlepoint.core.errors import AccessError, InputError
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.noise import Noise
from saddlepoint.testing.oracles import HalfSpace, Wavy, exact_distance

A = sp.attacks


def test_a_minimum_norm_attack_inside_a_cascade_wins_within_the_radius() -> None:
    model = HalfSpace(classes=2)
    x = model.inputs(6, 0.1)
    y = torch.zeros(6, dtype=torch.int64)
    distance = float(exact_distance(sp.L2, model, x).max())
    cascade = A.Cascade(attacks=(A.DeepFool(), A.DeepFool(), A.DDN(steps=20)))
    near = sp.attack(model, x, y, sp.L2(distance * 1.1), cascade)
    assert near.rows(sp.Outcome.FOUND).all()
    far = sp.attack(model, x, y, sp.L2(distance * 0.9), cascade)
    assert far.rows(sp.Outcome.NOT_FOUND).all()
    # A row that crossed the plane outside the radius leaves DeepFool at once, and comes back for the next stage.
    assert far.gradients.max() <= 2 * A.DeepFool().steps // 5 + 20


def test_a_cascade_is_no_weaker_than_its_parts() -> None:
    model = Wavy()
    x, y = model.inputs(40)
    threat = sp.Linf(0.08)
    parts = (A.FGSM(), A.PGD(steps=5), A.Square(steps=30))
    broken = torch.stack([sp.attack(model, x, y, threat, part).rows(sp.Outcome.FOUND) for part in parts])
    whole = sp.attack(model, x, y, threat, A.Cascade(attacks=parts)).rows(sp.Outcome.FOUND)
    assert torch.equal(whole, broken.any(0))


def test_restarts_only_play_what_stands() -> None:
    model = Wavy()
    x, y = model.inputs(20)
    once = sp.attack(model, x, y, "linf:0.05", A.PGD(steps=5))
    again = sp.attack(model, x, y, "linf:0.05", A.Restarts(attack=A.PGD(steps=5), restarts=3))
    won = once.rows(sp.Outcome.FOUND)
    assert torch.equal(again.queries[won], once.queries[won])
    assert (again.rows(sp.Outcome.FOUND) | ~won).all()
    standing = ~again.rows(sp.Outcome.FOUND)
    assert (again.queries[standing] == 1 + 3 * 6).all()
    assert (again.queries[~standing] <= 1 + 3 * 6).all()


def test_retired_rows_return_for_the_next_stage() -> None:
    model = HalfSpace(classes=2)
    x = (model.weight.detach() > 0).float().view(1, *model.shape)  # no feature can be raised usefully: JSMA gives up
    y = torch.zeros(1, dtype=torch.int64)
    result = sp.attack(model, x, y, sp.L0(15), A.Cascade(attacks=(A.JSMA(), A.OnePixel(population=50, generations=20))))
    assert result.rows(sp.Outcome.FOUND).all()


def test_never_stop_keeps_the_worst_case() -> None:
    model = Wavy()
    x, y = model.inputs(6)
    first = sp.attack(model, x, y, "linf:0.2", "PGD")
    worst = sp.attack(model, x, y, "linf:0.2", "PGD", stop=sp.Stop.NEVER)
    goal = sp.Untargeted(y)
    assert (goal.margin(model.answer(worst.x_adv)) <= goal.margin(model.answer(first.x_adv)) + 1e-6).all()
    assert (worst.queries == 42).all()


def test_confidence_is_in_the_models_own_logits() -> None:
    model = Wavy(scale=3.0)
    x, y = model.inputs(4)
    result = sp.attack(model, x, y, "l2", A.CarliniWagner(confidence=1.5, searches=6))
    found = result.rows(sp.Outcome.FOUND)
    assert found.all()
    assert (sp.Untargeted(y).margin(model.answer(result.x_adv)) <= -1.5 + 1e-4).all()


@pytest.mark.parametrize("objective", ["f1", "f2", "f3", "f4", "f5", "f6", "f7"])
@pytest.mark.parametrize("targeted", [False, True])
def test_all_seven_objectives_find(objective: str, targeted: bool) -> None:
    model = Wavy()
    x, y = model.inputs(8)
    goal = sp.Targeted((y + 1) % 3) if targeted else sp.Untargeted(y)
    attack = A.CarliniWagner(objective=objective, start=None, steps=200, searches=6, first_constant=0.1)
    result = sp.attack(model, x, goal, "l2", attack)
    assert result.success_rate.value >= (0.5 if objective in ("f2", "f3", "f4") else 1.0)


def test_least_likely_is_fixed_by_the_clean_input() -> None:
    model = Wavy()
    x, _ = model.inputs(8)
    least = model.answer(x).argmin(1)
    result = sp.attack(model, x, sp.LeastLikely(), "linf:0.5", "BIM")
    found = result.rows(sp.Outcome.FOUND)
    assert found.any()
    assert torch.equal(result.answer[found], least[found])


def test_reduce_confidence() -> None:
    model = Wavy(scale=4.0)
    x, y = model.inputs(8)
    result = sp.attack(model, x, sp.ReduceConfidence(y, below=0.4), "linf:0.3", "PGD")
    found = result.rows(sp.Outcome.FOUND)
    assert found.any()
    assert (model.answer(result.x_adv).softmax(1).gather(1, y[:, None])[found] < 0.4).all()
    with pytest.raises(AccessError):
        sp.attack(Wavy(access=sp.Access.LABELS), x, sp.ReduceConfidence(y), "l2", "HopSkipJump")


def test_starts_lead_a_targeted_walk() -> None:
    model = Wavy()
    x, y = model.inputs(12)
    target = (y + 1) % 3
    examples = torch.stack([x[(y == t).nonzero()[0, 0]] for t in target])
    result = sp.attack(model, x, sp.Targeted(target), "l2", A.HopSkipJump(steps=5), starts=examples)
    assert result.rows(sp.Outcome.FOUND).all()
    distance = (examples - x).flatten(1).norm(dim=1)
    assert (result.size < distance).all()


def test_a_plain_module_and_names_work() -> None:
    net = torch.nn.Linear(4, 3)
    x = torch.rand(5, 4)
    y = net(x).argmax(1)
    result = sp.attack(net, x, y, "linf:0.9", "FGSM")
    assert len(result) == 5
    assert "robust accuracy" in repr(result)


def test_each_class_breaks_what_one_targeted_search_breaks() -> None:
    model = Wavy(classes=4)
    x, y = model.inputs(30)
    part = A.PGD(steps=10, random_start=False)
    whole = sp.attack(model, x, y, "linf:0.1", A.EachClass(attack=part, classes=3))
    ranked = model.answer(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    broken = torch.zeros_like(y, dtype=torch.bool)
    for rank in range(3):
        targeted = sp.attack(model, x, sp.Targeted(ranked[:, rank]), "linf:0.1", part)
        broken |= targeted.rows(sp.Outcome.FOUND)
    assert (whole.rows(sp.Outcome.FOUND) | ~broken).all()
    assert whole.rows(sp.Outcome.FOUND).sum() >= broken.sum() > 0
    assert (whole.answer != y)[whole.rows(sp.Outcome.FOUND)].all()


def test_each_class_keeps_the_smallest_change_over_all_classes() -> None:
    model = Wavy(classes=4)
    x, y = model.inputs(8)
    part = A.DDN(steps=30)
    whole = sp.attack(model, x, y, "l2", A.EachClass(attack=part, classes=3))
    ranked = model.answer(x).scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
    sizes = torch.stack([sp.attack(model, x, sp.Targeted(ranked[:, r]), "l2", part).size for r in range(3)])
    assert (whole.size <= sizes.amin(0) + 1e-6).all()


def test_source_target_is_about_one_class() -> None:
    model = Wavy()
    x, y = model.inputs(40)
    own = y == y[0]
    target = int((y[0] + 1) % 3)
    goal = sp.SourceTarget(y[own], int(y[0]), target)
    result = sp.attack(model, x[own], goal, "linf:0.3", "PGD")
    assert (result.answer[result.rows(sp.Outcome.FOUND)] == target).all()
    assert result.rows(sp.Outcome.FOUND).any()
    with pytest.raises(InputError, match="SourceTarget is about examples of class"):
        sp.attack(model, x, sp.SourceTarget(y, int(y[0]), target), "linf:0.3", "PGD")
    with pytest.raises(InputError, match="needs two classes"):
        sp.attack(model, x[own], sp.SourceTarget(y[own], int(y[0]), int(y[0])), "linf:0.3", "PGD")


@pytest.mark.parametrize("method", [A.PGD(steps=5), A.SPSA(steps=3), A.RayS(steps=30)])
def test_of_what_a_search_within_a_radius_found_only_wins_are_asked_again(method: Attack) -> None:
    model = Wavy()
    x, y = model.inputs(40)
    found = sp.attack(model, x, y, "linf:0.02", method)
    won = found.rows(sp.Outcome.FOUND)
    again = found.size.isfinite() if method.seeks is Seeks.MINIMUM else won
    assert 0 < won.sum() < 40
    assert found.forwards == found.queries.sum() + again.sum()
    assert torch.equal(found.answer, model.labels(found.x_adv))


def test_a_model_that_answers_apart_from_its_scores_is_asked_about_all() -> None:
    class Apart(Wavy):
        def labels(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x),), 7)

    model = Apart()
    x, y = model.inputs(20)
    found = sp.attack(model, x, y, "linf:0.05", A.PGD(steps=3))
    kept = (found.x_adv != x).flatten(1).any(1)
    assert (found.answer[kept] == 7).all()
    assert found.forwards == found.queries.sum() + kept.sum()


def test_the_answer_is_that_to_the_best_candidate_wherever_it_was_asked() -> None:
    model = Wavy()
    x, y = model.inputs(30)
    plain, wide = A.APGD(steps=8, targets=3, loss="dlr"), A.SparseRS(steps=30)
    for method, threat in ((plain, "linf:0.01"), (wide, "l0:1")):  # side by side, and candidates of few rows
        for batch in (30, 7):
            found = sp.attack(model, x, y, threat, method, batch=batch)
            assert torch.equal(found.answer, model.labels(found.x_adv))


@pytest.mark.parametrize("several", [False, True])
def test_what_an_attack_has_read_of_the_best_stays_as_it_was(several: bool) -> None:
    model = Wavy()
    x, y = model.inputs(4)
    game = Game(model, x, sp.Untargeted(y), sp.Linf(1.0), noise=Noise(0, torch.arange(4)), stop=Stop.NEVER)
    before, given = game.best, x.clone()
    target = 1 - x.round()
    moved = (target - x)[:, None].expand(-1, 3, *x.shape[1:]) if several else target - x
    game.logits(moved, population=several)
    assert torch.equal(game.best, x + (target - x))
    assert torch.equal(before, given)
    assert torch.equal(x, given)


@pytest.mark.parametrize("seeks", Seeks)
def test_of_a_rows_candidates_the_best_admissible_is_kept(seeks: Seeks) -> None:
    torch.manual_seed(3)  # on some models nothing wins
    model = sp.TorchModel(torch.nn.Linear(6, 3, dtype=torch.float64).requires_grad_(False))
    draw = torch.Generator().manual_seed(3)
    x = 0.3 + 0.4 * torch.rand(5, 6, generator=draw, dtype=torch.float64)
    theta = 0.5 * torch.rand(5, 8, 6, generator=draw, dtype=torch.float64) - 0.25
    theta[:, :3] *= 2.0  # beyond the radius
    theta[:, 7] = theta[:, 4]  # equals
    goal = sp.Untargeted(model.logits(x).argmax(1))
    game = Game(model, x, goal, sp.Linf(0.25), noise=Noise(0, torch.arange(5)), seeks=seeks, stop=Stop.NEVER)
    margin = game.margin(theta, population=True)
    size = theta.abs().amax(2)
    lose, outside = margin >= 0, size > 0.25
    key = margin.masked_fill(outside, torch.inf) if seeks is Seeks.BUDGET else size.masked_fill(lose, torch.inf)
    lowest, first = key.min(1)
    found = lowest.isfinite()
    assert found.any()
    kept = torch.where(found[:, None], x + theta[torch.arange(5), first], x)
    assert torch.equal(game.best, kept)
    won = ~lose & ~outside
    expected = won.any(1) if seeks is Seeks.BUDGET else won[torch.arange(5), first] & found
    assert torch.equal(game.live.won, expected)


@pytest.mark.parametrize("seeks", Seeks)
def test_the_nearest_must_win_by_more_than_rounding(seeks: Seeks) -> None:
    model = HalfSpace(classes=2)
    x = model.inputs(1, 0.1)
    w, y = model.weight.detach().float().view_as(x), torch.zeros(1, dtype=torch.int64)
    game = Game(model, x, sp.Untargeted(y), sp.L2(1.0), noise=Noise(0, torch.arange(1)), seeks=seeks, stop=Stop.NEVER)
    slope = 2 * w / game.scale  # of the margin on the natural scale
    clean = game.goal.margin(game.clean_logits)
    for beyond, counts in ((5e-6, seeks is Seeks.BUDGET), (1e-4, True)):  # 40 and 800 units of rounding
        delta = -(clean + beyond) * slope / slope.square().sum()
        assert -2 * beyond < game.margin(delta).item() < 0
        assert game.found.item() is counts
