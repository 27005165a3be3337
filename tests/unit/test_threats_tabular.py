"""Tables as threats: what may not move stays, integers stay integers, and a projection is the nearest point there is."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint.core.config import digest, from_json, from_toml, to_json, to_toml
from saddlepoint.core.errors import ConfigError, InputError
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_threat
from saddlepoint.threats import Feature, Linf, Tabular, features_of

BOUNDS = (-50.0, 200.0)
LOAN = (
    Feature("age", 18, 100, moves="up", integer=True, scale=10),
    Feature("income", 0, 150, scale=25.0),
    Feature("debts", moves="down", integer=True, scale=2),
    Feature("height", moves="never"),
    Feature("rate", -1, 1, scale=0.1),
)
PEOPLE = torch.tensor([[30.0, 40.0, 3.0, 1.75, 0.05], [99.0, 149.0, 0.0, 1.9, -1.0], [18.0, 0.5, 190.0, 1.5, 3.0]])
ALL = [
    Tabular(0.5, features=LOAN),
    Tabular(2, changes=2, features=LOAN),
    Tabular(1.5, "l1", features=LOAN),
    Tabular(3, "l1", changes=2, features=LOAN),
    Tabular(2, "l0", features=LOAN),
    Tabular(0, features=LOAN),
    Tabular(3.0),
]


def lawful(threat: Tabular, x: Tensor, after: Tensor) -> bool:
    """The rules, one by one, in plain Python."""
    for clean, row in zip(x.double().tolist(), after.double().tolist(), strict=True):
        cost, changed = [], 0
        for f, a, b in zip(threat.features or [Feature()] * 5, clean, row, strict=True):
            changed += a != b
            cost.append(abs(a - b) / f.scale)
            fine = min(f.low, a) - 1e-4 <= b <= max(f.high, a) + 1e-4
            fine &= (
                not (f.moves == "never" and a != b) and not (f.moves == "up" and b < a) and not (f.moves == "down" and b > a)
            )
            if not fine or (f.integer and a != b and b != int(b)):
                return False
        spent = {"linf": max(cost), "l1": sum(cost), "l0": float(changed)}[threat.norm]
        if spent > threat.eps + 1e-5 * max(1, threat.eps) or (threat.changes and changed > threat.changes):
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10**6), st.sampled_from([0.1, 3.0, 300.0]))
def test_projections_are_in_the_set_and_stay_where_they_are(threat: Tabular, seed: int, far: float) -> None:
    wanted = far * Noise(seed, torch.arange(3)).normal(5)
    theta = threat.project(PEOPLE, wanted, BOUNDS)
    after = threat.apply(PEOPLE, theta)
    assert lawful(threat, PEOPLE, after)
    assert threat.contains(PEOPLE, after).all()
    torch.testing.assert_close(threat.project(PEOPLE, theta, BOUNDS), theta, rtol=1e-6, atol=1e-6)
    assert after.min() >= BOUNDS[0]
    assert after.max() <= BOUNDS[1]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10**6))
def test_random_starts_are_in_the_set(threat: Tabular, seed: int) -> None:
    after = threat.apply(PEOPLE, threat.start(PEOPLE, Noise(seed, torch.arange(3)), BOUNDS))
    assert lawful(threat, PEOPLE, after)
    assert threat.contains(PEOPLE, after).all()


def test_random_starts_use_the_room_there_is() -> None:
    x = PEOPLE[:1].expand(400, -1)
    after = Tabular(1.5, features=LOAN).start(x, Noise(0, torch.arange(400)), BOUNDS) + x
    assert set(after[:, 0].tolist()) == set(range(30, 46))
    assert set(after[:, 2].tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert after[:, 1].min() < 5
    assert after[:, 1].max() > 75
    few = Tabular(2, "l0", features=LOAN).start(x, Noise(0, torch.arange(400)), BOUNDS) != 0
    assert few[:, 3].sum() == 0
    assert (few.sum(0)[[0, 1, 2, 4]] > 100).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([Tabular(0.6, features=LOAN), Tabular(0.6, changes=2, features=LOAN)]))
def test_no_grid_point_of_the_set_is_nearer_than_the_projection(seed: int, threat: Tabular) -> None:
    x = PEOPLE[:1].double()
    scale = torch.tensor([f.scale for f in LOAN], dtype=x.dtype)
    wanted = Noise(seed, torch.tensor([0])).normal(5, dtype=x.dtype) * scale
    theta = threat.project(x, wanted, BOUNDS)
    axes = [
        torch.arange(0, 7.0),
        torch.linspace(-15, 15, 11),
        torch.arange(-1, 1.0),
        torch.zeros(1),
        torch.linspace(-0.06, 0.06, 11),
    ]
    grid = torch.cartesian_prod(*axes).double()
    grid = grid[threat.contains(x.expand(len(grid), -1), x + grid)]
    nearest = ((grid - wanted) / scale).square().sum(1).min()
    assert len(grid) > 20
    assert ((theta - wanted) / scale).square().sum() <= nearest + 1e-9


def test_l1_without_integers_is_projected_exactly() -> None:
    free = [Feature(str(i), scale=s) for i, s in enumerate((1.0, 5.0, 0.2, 3.0, 1.0))]
    wanted = Noise(3, torch.arange(3)).normal(5) * 4
    theta = Tabular(1.0, "l1", features=free).project(PEOPLE, wanted, BOUNDS)
    scale = torch.tensor([f.scale for f in free])
    plain = sp.L1(1.0).project(0 * PEOPLE, wanted / scale, (-99.0, 99.0)) * scale
    inside = ((PEOPLE + plain) < BOUNDS[1]).all(1)
    torch.testing.assert_close(theta[inside], plain[inside], rtol=1e-4, atol=1e-4)


def test_what_breaks_a_rule_is_outside() -> None:
    threat = Tabular(3, changes=2, features=LOAN)
    for change, inside in (
        ([0, 0, 0, 0, 0], True),
        ([1, 5, 0, 0, 0], True),
        ([-1, 0, 0, 0, 0], False),  # younger
        ([0.5, 0, 0, 0, 0], False),
        ([0, 0, 1, 0, 0], False),
        ([0, 0, 0, 1e-3, 0], False),
        ([0, -41, 0, 0, 0], False),
        ([0, 76, 0, 0, 0], False),  # too far
        ([1, 1, -1, 0, 0], False),  # too many
    ):
        after = PEOPLE[:1] + torch.tensor([change])
        assert bool(threat.contains(PEOPLE[:1], after)) == inside, change


def test_a_clean_value_outside_its_own_rules_may_stay() -> None:
    x = torch.tensor([[17.5, -3.0, 2.5, 1.0, 3.0]])
    threat = Tabular(100, features=LOAN)
    assert threat.contains(x, x)
    assert (threat.project(x, 0 * x, BOUNDS) == 0).all()
    low, high = (x + threat.project(x, torch.full_like(x, far), BOUNDS) for far in (-1e3, 1e3))
    assert low.tolist() == [[17.5, -3.0, -50.0, 1.0, -1.0]]
    assert high.tolist() == [[100.0, 150.0, 2.5, 1.0, 3.0]]
    assert threat.contains(x, low)
    assert threat.contains(x, high)


def test_values_much_larger_than_their_scale_stay_inside() -> None:
    x = torch.full((1, 5), 190.0) + torch.rand(1, 5)
    threat = Tabular(0.1, features=[Feature(str(i), scale=1e-3) for i in range(5)])
    for far in (-1.0, 1.0):
        after = x + threat.project(x, far * torch.ones_like(x), BOUNDS)
        assert threat.contains(x, after).all()
        assert ((after - x).abs() > 0.8e-4).all()


def test_without_features_it_is_a_ball() -> None:
    wanted = Noise(1, torch.arange(3)).normal(5) * 5
    ball = Linf(3.0)
    torch.testing.assert_close(
        Tabular(3.0).project(PEOPLE, wanted, BOUNDS), ball.project(PEOPLE, wanted, BOUNDS), rtol=1e-5, atol=2e-5
    )
    torch.testing.assert_close(Tabular(3.0).size(PEOPLE, PEOPLE + wanted), ball.size(PEOPLE, PEOPLE + wanted))


@pytest.mark.parametrize("threat", ALL[:5], ids=lambda t: t.name)
def test_gradients_win_on_a_linear_model(threat: Tabular) -> None:
    net = nn.Linear(5, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.05, -0.02, -0.3, 9.0, -2.0], [-0.05, 0.02, 0.3, -9.0, 2.0]]))
        net.bias.copy_(-(net.weight @ PEOPLE[0]) + torch.tensor([-0.01, 0.01]))
    x = PEOPLE[:1]
    result = sp.attack(sp.TorchModel(net, bounds=BOUNDS), x, torch.tensor([1]), threat, sp.attacks.PGD(steps=20))
    if threat.eps:
        assert result.rows(sp.Outcome.FOUND).all()
        assert lawful(threat, x, result.x_adv)


@pytest.mark.parametrize(
    "method", [sp.attacks.RandomSearch(), sp.attacks.FeatureSearch(steps=20)], ids=lambda m: type(m).__name__
)
def test_searches_win_on_a_tree_of_thresholds_and_keep_the_rules(method: sp.Attack) -> None:
    def grants(rows: object) -> Tensor:
        rows = torch.as_tensor(rows)
        points = (rows[:, 0] >= 32).float() + (rows[:, 1] >= 50) + (rows[:, 2] <= 2) + 5 * (rows[:, 3] > 1.8)
        return torch.stack([2.5 - points, points - 2.5], dim=1)

    model = sp.CallableModel(grants, bounds=BOUNDS)
    threat, x = Tabular(1.0, features=LOAN), PEOPLE[:1]
    result = sp.attack(model, x, torch.tensor([0]), threat, method)
    assert result.rows(sp.Outcome.FOUND).all()
    assert lawful(threat, x, result.x_adv)
    fixed = sp.attack(model, x, torch.tensor([0]), Tabular(0.1, features=LOAN), method)
    assert fixed.rows(sp.Outcome.NOT_FOUND).all()


# -- text and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_features_can_be_kept_in_a_file(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    threat = Tabular(2, "l1", changes=3, features=LOAN)
    named = threat.save(f"loan.{suffix}")
    assert named.name == f"tabular:2,l1,changes=3,features=loan.{suffix}"
    assert as_threat(named.name) == named == threat
    assert digest(named) == digest(threat)
    Path(f"loan.{suffix}").unlink()
    assert from_toml(to_toml(named), "threat") == from_json(to_json(named), "threat") == threat  # a record has it all


def test_a_file_may_say_little(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text('[age]\nmoves = "up"\ninteger = true\n[income]\n')
    assert as_threat(f"tabular:3,features={file}").features == (Feature("age", moves="up", integer=True), Feature("income"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age", "a file of TOML"),
        ("age = 3", "one table a feature"),
        ("[age]\nmove = 'up'", "not 'move' of 'age'"),
        ("[age]\nmoves = 'sideways'", "any, up, down, never"),
        ("[age]\nlow = 3\nhigh = 2", "low <= high"),
        ("[age]\nscale = 0", "scale above 0"),
        ("[age]\ninteger = 1", "true or false"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        as_threat(f"tabular:1,features={tmp_path / 'f.toml'}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tabular:1,features=none.toml", "a file that can be read"),
        ("tabular:1.5,l0", "no whole number of features"),
        ("tabular:2,l0,3", "None under l0"),
        ("tabular:1,l2", "'linf', 'l1' or 'l0'"),
    ],
)
def test_wrong_text_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        as_threat(text)


def test_inputs_of_other_width_are_refused() -> None:
    with pytest.raises(InputError, match="describes 5 features; got inputs of 4"):
        Tabular(1, features=LOAN).project(PEOPLE[:, :4], PEOPLE[:, :4], BOUNDS)


def test_features_with_equal_names_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different names"):
        Tabular(1, features=[Feature("a"), Feature("a")]).save(tmp_path / "f.toml")


def test_an_audit_wants_a_ball() -> None:
    with pytest.raises(InputError, match="ball"):
        sp.audit(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits", threat=Tabular(0.1), attacks=["RandomSearch"], limit=2
        )


def test_features_of_a_table() -> None:
    table = [[1, 0.5, 3], [4, 1.5, 3], [2, -1, 3]]
    found = features_of(table, ["a", "b", "c"], never=["c"], up=[0])
    assert found == (
        Feature("a", 1, 4, "up", True, 3), Feature("b", -1, 1.5, "any", False, 2.5), Feature("c", 3, 3, "never", True, 1)
    )  # fmt: skip
    assert json.loads(to_json(Tabular(1, features=found)))["features"][0] == ["a", 1.0, 4.0, "up", True, 3.0]
    with pytest.raises(InputError, match="no column 'd'"):
        features_of(table, ["a", "b", "c"], never=["d"])
    with pytest.raises(InputError, match="3 columns, and there are 2 names"):
        features_of(table, list(itertools.islice("abc", 2)))
