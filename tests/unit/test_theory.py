"""Traces and rubbish of models simple enough to compute by hand, and their commands end to end."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import saddlepoint as sp
from saddlepoint.cli.app import app
from saddlepoint.core.errors import InputError, SaddlepointError
from saddlepoint.theory.rubbish import fooling, gallery, noise, rubbish
from saddlepoint.theory.trace import trace

WEIGHT = torch.tensor([0.5, -1.0, 2.0, 0.25])


class Plane(nn.Module):
    """Two classes, w x and its negative."""

    def forward(self, x: Tensor) -> Tensor:
        side = (x.flatten(1) * WEIGHT.to(x)).sum(1, keepdim=True)
        return torch.cat([side, -side], dim=1)


class Line(nn.Module):
    """Logits of the first feature t alone: 1 for class 0, then factor t, then minus t."""

    def __init__(self, factor: float = 1.0, kink: float = math.inf) -> None:
        super().__init__()
        self.factor, self.kink = factor, kink

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(1)[:, :1]
        return torch.cat([torch.ones_like(t), self.factor * t.clamp(-self.kink, self.kink), -t], dim=1)


# -- trace -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("threat", "norm"), [("linf", 1), ("l2", 2)])
def test_a_linear_model_is_a_straight_line_with_the_interval_of_the_closed_form(
    dtype: torch.dtype, threat: str, norm: int
) -> None:
    x = torch.tensor([[1.0, 0, 1, 0.5], [0.3, 0.5, 0.9, 0]], dtype=dtype)
    side = (x * WEIGHT.to(dtype)).sum(1)
    found = trace(Plane(), x, torch.zeros(2).long(), eps=3, threat=threat, points=51)
    assert found.logits.shape == (2, 51, 2)
    distance = side / WEIGHT.norm(norm)  # the dual norm
    assert (found.interval[:, 0] == -torch.inf).all()  # away from the plane nothing goes wrong
    torch.testing.assert_close(found.interval[:, 1], distance.to(dtype), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.linearity, torch.ones(2, 2, dtype=torch.float64))
    assert (found.stability == 1).all()
    ends = side[:, None] + torch.tensor([3.0, -3.0], dtype=dtype) * WEIGHT.norm(norm)
    torch.testing.assert_close(found.growth, ends.abs() / side[:, None].abs(), rtol=1e-5, atol=1e-5)
    expected = side[:, None] - found.eps * WEIGHT.norm(norm)
    torch.testing.assert_close(found.logits[:, :, 0], expected, rtol=1e-5, atol=1e-5)  # far out of bounds, and not clipped


def test_width_between_two_classes() -> None:
    x, direction = torch.full((2, 1), 0.0), torch.tensor([[1.0], [2.0]])
    found = trace(Line(factor=2), x, torch.zeros(2).long(), eps=3, points=61, directions=direction)
    torch.testing.assert_close(found.interval, torch.tensor([[-1.0, 0.5], [-0.5, 0.25]]))
    torch.testing.assert_close(found.width, torch.tensor([1.5, 0.75]))
    assert found.answers[0, [0, 30, 60]].tolist() == [2, 0, 1]
    assert found.summary()["width"] == pytest.approx([1.5, 0.75])


def test_inputs_that_are_wrong_at_zero_have_no_width() -> None:
    found = trace(Line(), torch.zeros(1, 1), torch.tensor([2]), eps=3, points=61, directions=torch.ones(1, 1))
    assert found.interval.tolist() == [[0.0, 0.0]]
    assert found.width.tolist() == [0.0]


def test_a_kink_bends_the_line() -> None:
    bent = trace(Line(kink=0.5), torch.zeros(1, 1), torch.zeros(1).long(), eps=3, points=301, directions=torch.ones(1, 1))
    assert bent.linearity.max() < 0.99
    class_0, class_1, class_2 = bent.logits[0, 150:, :].double().unbind(1)
    eps = bent.eps[150:].double()
    residue = sum(
        (z - z.mean() - ((eps - eps.mean()) * (z - z.mean())).sum() / (eps - eps.mean()).square().sum() * (eps - eps.mean()))
        .square()
        .sum()
        for z in (class_0, class_1, class_2)
    )
    total = sum((z - z.mean()).square().sum() for z in (class_0, class_1, class_2))
    assert bent.linearity[0, 1] == pytest.approx(float(1 - residue / total))


def test_stability_is_the_share_of_the_commonest_answer_beyond() -> None:
    class Turns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            t = x.flatten(1)[:, 0]
            answer = torch.where(t < 1, 0, torch.where(t < 2, 1, 2))
            return nn.functional.one_hot(answer, 3).to(x)

    places = [-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    found = trace(Turns(), torch.zeros(1, 1), torch.zeros(1).long(), places, directions=torch.ones(1, 1))
    assert found.stability.tolist() == pytest.approx([3 / 5])  # 1, 1.5 | 2, 2.5, 3


def test_goals_threats_batches_and_plain_data() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 5))
    x, y = torch.rand(5, 3, 4, 4), torch.arange(5)
    whole = trace(net, x, y, eps=2, points=21)
    split = trace(net, x, y, eps=2, points=21, batch=3)
    torch.testing.assert_close(whole.logits, split.logits)
    assert whole.direction.abs().unique().tolist() == [1.0]
    assert whole.margin[:, 11].sum() < whole.margin[:, 10].sum()  # the attacker prefers the right side
    toward = trace(net, x, sp.Targeted(y), eps=2, points=21)
    torch.testing.assert_close(toward.direction, -whole.direction)
    least = trace(net, x, sp.LeastLikely(), eps=2, points=21)
    assert (least.margin[:, 10] >= 0).all()
    turned = trace(net, x, y, eps=1, points=3, threat="spatial:90,2")
    assert turned.direction.shape == (5, 3)
    json.dumps(whole.data(), allow_nan=False)
    assert "Trace(n=5" in repr(whole)
    assert not x.requires_grad
    assert net[1].weight.grad is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"eps": -1}, "above 0"),
        ({"eps": [0.0, 1.0]}, "either side"),
        ({"eps": [-1.0, 0.5]}, "0 among them"),
        ({"points": 10}, "odd"),
        ({"directions": torch.ones(1, 3)}, "directions"),
        ({"x": torch.rand(0, 4)}, "at least"),
    ],
    ids=str,
)
def test_trace_says_what_is_wrong(how: dict, said: str) -> None:
    x = how.pop("x", torch.rand(1, 4))
    with pytest.raises(InputError, match=said):
        trace(Plane(), x, torch.zeros(len(x)).long(), **how)


def test_labels_alone_cannot_be_traced() -> None:
    model = sp.CallableModel(lambda x: [0] * len(x), returns="labels")
    with pytest.raises(SaddlepointError, match="trace needs"):
        trace(model, torch.rand(1, 4), torch.zeros(1).long(), directions=torch.ones(1, 4))


def test_plots(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 12))
    found = trace(net, torch.rand(2, 3, 4, 4), torch.zeros(2).long(), eps=2, points=21)
    found.plot(tmp_path / "a.png", row=1)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    trace(Plane(), torch.rand(1, 4), torch.zeros(1).long()).plot(tmp_path / "b.svg", classes=("up", "down"))
    assert "down" in (tmp_path / "b.svg").read_text() or (tmp_path / "b.svg").stat().st_size > 1000
    for bad in ("c.nonsense", "no/such/folder.png"):
        with pytest.raises(InputError, match="Could not write"):
            found.plot(tmp_path / bad)


# -- rubbish ---------------------------------------------------------------------------------------------------------


class Slope(nn.Module):
    """Logits s (t - start), 0, 0 of the first feature t."""

    def __init__(self, slope: float, start: float = 0.0) -> None:
        super().__init__()
        self.slope, self.start = slope, start

    def forward(self, x: Tensor) -> Tensor:
        t = self.slope * (x.flatten(1)[:, :1] - self.start)
        return torch.cat([t, 0 * t, 0 * t], dim=1)


def test_rates_are_those_of_the_distributions() -> None:
    # softmax above one half: s t > ln 2 (below, no class has it, or -s t is so small that two share it equally);
    # sigmoid above one half: t > 0
    found = {r.kind: r for r in rubbish(Slope(2.0), (3,), samples=4000)}
    normal = torch.distributions.Normal(0, 1)
    beyond = float(1 - normal.cdf(torch.tensor(math.log(2) / 2)))
    expected = {
        "gaussian": (beyond, 0.5),
        "clipped": (beyond, 0.5),
        "uniform": (1 - math.log(2) / 2, 1.0),
    }
    for kind, (softmax, sigmoid) in expected.items():
        share = found[kind].rate()
        assert share.n == 4000
        assert share.value == pytest.approx(softmax, abs=0.03), kind
        assert found[kind].rate("sigmoid").value == pytest.approx(sigmoid, abs=0.03)
        at = found[kind].softmax
        assert found[kind].confidence() == pytest.approx(float(at[at > 0.5].mean()))
    assert found["gaussian"].x.shape == (10, 3)
    assert found["clipped"].x.min() >= 0
    assert found["clipped"].x.max() <= 1
    assert found["gaussian"].x.min() < 0


def test_two_classes_are_always_sure_and_a_flat_model_never() -> None:
    assert all(r.rate().value == 1 for r in rubbish(Plane(), (4,), samples=100, kinds=("gaussian", "uniform")))
    for found in rubbish(Slope(0.0), (4,), samples=100):
        assert found.rate().count == found.rate("sigmoid").count == 0
        assert math.isnan(found.confidence())
        assert found.data()["softmax"]["confidence"] is None
        json.dumps(found.data(), allow_nan=False)


def test_noise_is_keyed_by_seed_and_sample() -> None:
    first, again, other = (rubbish(Slope(2.0), (3,), samples=20, seed=s, batch=b) for s, b in ((0, 256), (0, 7), (1, 256)))
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.x, b.x)
        torch.testing.assert_close(a.softmax, b.softmax)
        assert not torch.equal(a.x, c.x)


def test_a_linear_net_is_fooled_exactly_where_the_radius_allows() -> None:
    net = Slope(8.0, start=0.6)
    start = noise(sp.TorchModel(net), (3,), "uniform", torch.arange(60))[:, 0]
    fooled = fooling(net, (3,), "linf:0.25", classes=[0], samples=60)
    other = start < 0.6  # what lies beyond has the wanted answer already
    within = other & (start + 0.25 > 0.6 + math.log(2) / 8)  # where class 0 has more than half
    assert torch.equal(fooled.fooled, within)
    assert (fooled.rate().count, fooled.rate().n) == (int(within.sum()), int(other.sum()))
    never = fooling(net, (3,), "linf:0.1", classes=[2], samples=20)
    assert never.rate(2).count == 0  # classes 1 and 2 share, so that neither has more than half


def test_fooling_reaches_every_class_of_a_linear_net() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    with torch.no_grad():
        net[1].weight *= 6
    fooled = fooling(net, (1, 8, 8), "linf:0.5", samples=3)
    assert fooled.target.tolist() == [k for k in range(6) for _ in range(3)]
    assert fooled.rate().value == 1
    assert all(fooled.rate(k).n <= 3 for k in range(6))
    softmax = net(fooled.result.x_adv).softmax(1).gather(1, fooled.target[:, None])[:, 0]
    torch.testing.assert_close(fooled.confidence, softmax.detach())
    json.dumps(fooled.data(), allow_nan=False)


def test_gallery(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    found, fooled = rubbish(net, (1, 8, 8), samples=5), fooling(net, (1, 8, 8), samples=2)
    gallery(tmp_path / "g.png", found, fooled)
    assert (tmp_path / "g.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="images"):
        gallery(tmp_path / "h.png", rubbish(Slope(1.0), (4,), samples=5))


@pytest.mark.parametrize(
    ("how", "said"),
    [({"kinds": ["pink"]}, "pink"), ({"samples": 0}, "samples"), ({"above": 1.0}, "above")],
    ids=str,
)
def test_rubbish_says_what_is_wrong(how: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rubbish(Slope(1.0), (3,), **how)


def test_fooling_starts_within_the_bounds() -> None:
    with pytest.raises(InputError, match="uniform"):
        fooling(Slope(1.0), (3,), kind="gaussian")
    with pytest.raises(InputError, match="by must be"):
        rubbish(Slope(1.0), (3,), samples=2)[0].rate("votes")


# -- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "linear_net.py").write_text(
        "import torch\ntorch.manual_seed(0)\nnet = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "linear_net:net"


def test_trace_command(module: str, tmp_path: Path) -> None:
    command = ["trace", module, "--data", "digits", "--index", "3", "--eps", "2", "--points", "21", "--out", "trace.png"]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["index"] == 3
    assert found["linearity"][0] == pytest.approx([1, 1])
    assert len(found["logits"][0]) == len(found["eps"]) == 21
    assert (tmp_path / "trace.png").exists()
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, ["trace", module, "--data", "digits", "--index", "9999"]).exit_code == 2


def test_rubbish_command(module: str, tmp_path: Path) -> None:
    command = ["rubbish", module, "--data", "digits", "--samples", "20", "--each", "1", "--out", "gallery.png"]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [kind["kind"] for kind in found["noise"]] == ["gaussian", "clipped", "uniform"]
    assert found["noise"][0]["softmax"]["n"] == 20
    assert len(found["fooling"]["classes"]) == 10
    assert (tmp_path / "gallery.png").exists()
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0


def test_reach_command(module: str, tmp_path: Path) -> None:
    command = ["reach", module, "--data", "digits", "--attack", "SparseRS", "--set", "steps=20", "--threat", "l0:9"]
    command += ["--limit", "12", "--out", "reach.png"]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["attack"]["steps"] == 20
    assert sum(map(sum, found["map"])) == found["success"]["count"]
    assert sum(found["examples"]) == found["fooled"]["n"] <= 12
    assert (tmp_path / "reach.png").stat().st_size > 1000
    shown = CliRunner().invoke(app, [*command, "--sure"], catch_exceptions=False)
    assert "into any wrong class" in shown.stdout
    assert CliRunner().invoke(app, [*command[:-1], "nowhere/reach.png"]).exit_code == 2
