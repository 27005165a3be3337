"""The audit's doubts: what it finds before the attacks, what it repairs, and what it refuses to call a number."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import dropout, one_hot

import saddlepoint as sp
from saddlepoint.auditing import plan
from saddlepoint.core.result import Outcome
from saddlepoint.data import Arrays
from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.trust import examine
from saddlepoint.evaluation.trust.repair import Recipe, choose
from saddlepoint.models.guided import Guided, Judged
from saddlepoint.models.restated import LogProbabilities, OneByOne, in_double
from saddlepoint.models.straight_through import StraightThrough
from saddlepoint.models.train import seeded

THREAT = sp.Linf(0.25)


def digits() -> Arrays:
    found = load_digits()
    return Arrays("digits", (found.images[:, None] / 16).astype("float32"), found.target)


def make() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.set_num_threads(1)
    made = seeded(make, 0)
    sp.Trainer(epochs=6, learning_rate=5e-3).fit(made, digits())
    return made.eval()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    return digits().batch(torch.arange(64))


class Around(nn.Module):
    def __init__(self, net: nn.Module, function: Any) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net, x)


class Rounding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 4).round() / 4


class Lying(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)).to(gradient)


def crowd(net: nn.Module, x: Tensor) -> Tensor:
    return net(x) + 30 * (x.mean((1, 2, 3)) - x.mean())[:, None] * torch.arange(10.0)


def grayless(net: nn.Module, x: Tensor) -> Tensor:
    gray = (x * 16 - (x * 16).round()).abs().flatten(1).mean(1)
    return torch.where((gray > 0.02)[:, None], torch.nan, net(x))


WRONG = {
    "scaled": (lambda n, x: 100 * n(x), "cross entropy has a gradient"),
    "probabilities": (lambda n, x: (20 * n(x)).softmax(1), "cross entropy has a gradient"),
    "rounded input": (lambda n, x: n((x * 4).round() / 4), "gradients arrive"),
    "rounded logits": (lambda n, x: n(x).round(), "gradients arrive"),
    "one-hot": (lambda n, x: one_hot(n(x).argmax(1), 10).float(), "gradients arrive"),
    "cut": (lambda n, x: n(x.detach()), "gradients arrive"),
    "lying": (lambda n, x: n(Lying.apply(x)), "gradients point downhill"),
    "noise": (lambda n, x: n(x + 0.1 * torch.randn_like(x)), "same answer twice"),
    "dropout": (lambda n, x: n(dropout(x, 0.2, True)), "same answer twice"),
    "crowd": (crowd, "independent rows"),
    "NaN": (grayless, "finite answers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_and_named(name: str, net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    function, line = WRONG[name]
    found = examine(sp.TorchModel(Around(net, function)), *batch, threat=THREAT)
    assert line in [c.name for c in found.checks if not c.passed]


HONEST = {
    "as it is": lambda n, x: n(x),
    "shifted": lambda n, x: n(x) - 50,
    "log-probabilities": lambda n, x: n(x).log_softmax(1),
    "probabilities": lambda n, x: n(x).softmax(1),
    "small": lambda n, x: 0.1 * n(x),
    "a class ruled out": lambda n, x: torch.cat([n(x), torch.full((len(x), 1), -torch.inf)], 1),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_network_raises_no_alarm(name: str, net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    found = examine(sp.TorchModel(Around(net, HONEST[name])), *batch, threat=THREAT)
    assert [c.name for c in found.checks if not c.passed] == []


@pytest.mark.parametrize("name", ["scaled", "probabilities", "rounded input", "rounded logits", "one-hot", "lying", "crowd"])
def test_repairs_find_what_the_shipped_model_hides(name: str, net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    model = sp.TorchModel(Around(net, WRONG[name][0]))
    recipe, _ = choose(model, examine(model, x, y, threat=THREAT), x, y, THREAT)
    plain = sp.attack(net, x, y, THREAT, "PGD").robust_accuracy.value
    left = sp.attack(recipe.apply(model, x, THREAT), x, y, THREAT, "PGD")
    assert left.robust_accuracy.value <= plain + (0.4 if name == "one-hot" else 0.2)  # few examples to learn on
    with torch.no_grad():  # and what was found is wrong for the model as it was given, not for the repaired one only
        found = left.rows(Outcome.FOUND)
        asked = OneByOne(model) if recipe.alone else model
        assert (asked.labels(left.x_adv[found]) != y[found]).all()


def test_the_place_where_gradients_end_is_named(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    inside = nn.Sequential(net[0], net[1], Rounding(), *list(net)[2:])
    found = examine(sp.TorchModel(inside), *batch)
    assert found.stops == ("2",)
    assert "it ends at 2" in next(c.finding for c in found.checks if c.name == "gradients arrive")


def test_the_first_paragraph(tmp_path: Path, net: nn.Module) -> None:
    """Logits times 100, or softmax of 20 times the logits: no robustness at all, and 100 % by the usual PGD."""
    for name in ("scaled", "probabilities"):
        run = sp.audit(Around(net, WRONG[name][0]), digits(), "linf:0.3", limit=40, out=tmp_path / name)
        subject = run.result()["subjects"][0]
        assert subject["verdict"]["state"] == "repaired"
        assert subject["robust"]["high"]["value"] == 0
        assert subject["before"]["value"] > 0.3
        assert "is exactly zero for" in subject["verdict"]["sentence"]
        assert subject["trust"]["passes"]["checks"] < 0.25 * subject["trust"]["passes"]["attacks"]


def test_a_question_costs_as_many_passes_as_it_has_draws(tmp_path: Path, net: nn.Module) -> None:
    run = sp.audit(Around(net, WRONG["noise"][0]), digits(), "linf:0.1", limit=8, attacks=["FGSM"], out=tmp_path)
    subject = run.result()["subjects"][0]
    draws = subject["trust"]["recipe"]["draws"]
    asked = {
        role: sum(row["forwards"] + row["backwards"] for row in subject["attacks"] if row["role"] == role)
        for role in ("main", "curve", "pairs", "rescue", "guided")
    }
    assert draws > 1
    assert asked["main"] > 0
    assert subject["trust"]["passes"]["attacks"] == draws * sum(asked.values())


@pytest.mark.parametrize("name", ["NaN", "dice"])
def test_what_cannot_be_trusted_has_no_number(name: str, tmp_path: Path, net: nn.Module) -> None:
    function = grayless if name == "NaN" else lambda n, x: torch.randn_like(n(x))
    run = sp.audit(Around(net, function), digits(), "linf:0.2", limit=24, out=tmp_path / "run", attacks=["PGD"])
    subject = run.result()["subjects"][0]
    assert subject["verdict"]["state"] == "not trusted"
    assert subject["robust"] is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert "no number" in page
    assert "Not trusted" in page
    assert run.complete
    sp.audit(Around(net, function), digits(), "linf:0.2", limit=24, out=tmp_path / "run", attacks=["PGD"])  # and again


def test_a_claim_that_does_not_hold(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    model = sp.TorchModel(net)
    assert examine(model, *batch, claimed=0.97).checks[6].passed
    line = next(c for c in examine(model, *batch, claimed=0.5).checks if c.name == "clean accuracy")
    assert not line.passed
    assert not line.remedy
    with pytest.raises(sp.SaddlepointError, match="claimed must be"):
        plan(net, digits(), claimed=94)


def test_more_is_tried_where_the_checks_fail(tmp_path: Path, net: nn.Module) -> None:
    """A gradient that lies only away from the clean inputs passes the examination; the records give it away."""

    def function(n: nn.Module, x: Tensor) -> Tensor:
        off = ((x * 16 - (x * 16).round()).abs().flatten(1).mean(1) > 0.05).to(x)[:, None, None, None]
        return n(off * Lying.apply(x) + (1 - off) * x)

    run = sp.audit(Around(net, function), digits(), "linf:0.15", limit=40, out=tmp_path / "run")
    subject = run.result()["subjects"][0]
    assert run.doubtful
    tried = [a["role"] for a in subject["attacks"] if a["forwards"] and a["role"] in ("rescue", "guided")]
    assert tried
    honest = sp.audit(net, digits(), "linf:0.15", limit=40, out=tmp_path / "honest")
    assert not honest.doubtful
    assert honest.result()["subjects"][0]["verdict"]["state"] == "trusted"
    if subject["robust"] is not None:
        assert subject["robust"]["high"]["count"] <= honest.result()["subjects"][0]["robust"]["high"]["count"] + 3


def test_the_prognosis_is_kept_with_the_run(tmp_path: Path, net: nn.Module) -> None:
    model, out = Around(net, WRONG["rounded input"][0]), tmp_path / "run"
    first = sp.audit(model, digits(), THREAT, limit=20, out=out, attacks=["PGD"])
    again = plan(model, digits(), THREAT, limit=20, out=out, attacks=["PGD"])
    assert dict(again.prognoses) == first.prognoses == Run(out).prognoses
    assert next(iter(again.prognoses.values())).recipe != Recipe()
    (known,) = again.prognoses.values()
    assert type(known).of(json.loads(json.dumps(known.data()))) == known


def test_wrappers_answer_as_the_model(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, _ = batch
    model = sp.TorchModel(net)
    rounded = sp.TorchModel(nn.Sequential(Rounding(), net))
    through = StraightThrough(rounded, {"0": "identity"})
    leaf = x.clone().requires_grad_()
    assert torch.equal(through.logits(leaf).detach(), rounded.logits(x).detach())
    (gradient,) = torch.autograd.grad(through.logits(leaf).sum(), leaf)
    seen = ((x * 4).round() / 4).requires_grad_()
    (wanted,) = torch.autograd.grad(model.logits(seen).sum(), seen)
    assert torch.equal(gradient, wanted)
    guided = Guided(rounded, model)
    assert torch.equal(guided.logits(leaf).detach(), rounded.logits(x).detach())
    assert torch.equal(
        torch.autograd.grad(guided.logits(leaf).sum(), leaf)[0], torch.autograd.grad(model.logits(leaf).sum(), leaf)[0]
    )
    assert torch.equal(Judged(model, rounded).labels(x), rounded.labels(x))
    double = in_double(model)
    assert double.logits(x).dtype == torch.float64
    assert all(p.dtype == torch.float32 for p in net.parameters())
    probabilities = sp.TorchModel(nn.Sequential(net, nn.Softmax(1)))
    torch.testing.assert_close(LogProbabilities(probabilities).logits(x), net(x).log_softmax(1), rtol=1e-4, atol=1e-4)


def test_operations_let_gradients_through(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, _ = batch
    for function in (
        lambda n, x: n((x * 4).floor() / 4),
        lambda n, x: n((x > 0.5).float()),
        lambda n, x: n(x.detach()),
        lambda n, x: n(torch.sign(x - 0.5)),
    ):
        model = sp.TorchModel(Around(net, function))
        leaf = x.clone().requires_grad_()
        through = StraightThrough(model, operations=True)
        answer = through.logits(leaf)
        assert torch.equal(answer.detach(), model.logits(x).detach())
        assert torch.autograd.grad(answer.sum(), leaf)[0].flatten(1).any(1).all()
