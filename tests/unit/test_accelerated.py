"""A faster copy to search on: the network itself has the last word."""

import shutil

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import saddlepoint as sp
from saddlepoint.cli.app import app
from saddlepoint.core.answers import checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.models.accelerated import CLOSE, MEANS

CHEAP = [name for name in MEANS if name != "compile"]


class Normed(nn.Module):
    """Batch normalization that has seen data, so that folding changes weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(4))
        self.head = nn.Linear(8 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    made = Normed().train()
    with torch.no_grad():
        for _ in range(50):
            made(torch.rand(32, 1, 8, 8))
        made.head.bias -= made.eval()(torch.rand(256, 1, 8, 8)).mean(0)
    return made.requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("means", [*[(name,) for name in CHEAP], tuple(CHEAP)])
def test_what_is_found_fools_the_network_itself(net: nn.Module, x: Tensor, means: tuple[str, ...]) -> None:
    y = net(x).argmax(1)
    plain, fast = (sp.attack(model, x, y, "linf:0.02", "PGD") for model in (net, sp.Accelerated(net, *means)))
    found = fast.rows(sp.Outcome.FOUND)
    assert 0 < int(found.sum()) < len(x)
    assert (net(fast.x_adv[found]).argmax(1) != y[found]).all()
    assert abs(int(found.sum()) - int(plain.rows(sp.Outcome.FOUND).sum())) <= 1


@pytest.mark.parametrize("name", CHEAP)
def test_answers_nearly_alike(net: nn.Module, x: Tensor, name: str) -> None:
    fast = sp.Accelerated(net, name)
    with fast.session():
        away = (fast.search.logits(x) - net(x)).abs().max() / net(x).std()
    assert 0 < away < (0.05 if name == "bf16" else 1e-4)
    assert torch.equal(fast.labels(x), net(x).argmax(1))


def test_the_undecided_are_asked_of_the_network_and_keep_the_slope_of_the_copy(net: nn.Module, x: Tensor) -> None:
    fast = sp.Accelerated(net, "bf16")
    x.requires_grad_()
    with fast.session():
        copied = checked_logits(fast.search.logits, x)
        lead = copied.topk(2).values.diff().abs().squeeze(1)
        close = lead <= CLOSE["bf16"] * (copied.amax(1) - copied.amin(1))
        assert 0 < int(close.sum()) < len(x)
        seen = fast.logits(x)
        assert torch.allclose(seen[close], net(x)[close], rtol=0, atol=1e-6)
        assert torch.equal(seen[~close], copied[~close])
        slopes = [torch.autograd.grad(z[:, 0].sum(), x)[0] for z in (seen, copied)]
    assert torch.equal(*slopes)


def test_the_network_is_left_alone(net: nn.Module, x: Tensor) -> None:
    before = net(x)
    sp.attack(sp.Accelerated(net, *CHEAP), x, before.argmax(1), "linf:0.05", "FGSM")
    assert torch.equal(net(x), before)
    assert not any(isinstance(m, nn.Identity) for m in net.modules())


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled(net: nn.Module, x: Tensor) -> None:
    y = net(x).argmax(1)
    found = sp.attack(sp.Accelerated(net, "compile"), x, y, "linf:0.05", sp.attacks.PGD(steps=5))
    plain = sp.attack(net, x, y, "linf:0.05", sp.attacks.PGD(steps=5))
    assert torch.equal(found.outcome, plain.outcome)


def test_errors_say_what_to_do(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Branching(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(InputError, match="Did you mean 'channels-last'"):
        sp.Accelerated(net, "channels_last")
    with pytest.raises(InputError, match="at least one of fold"):
        sp.Accelerated(net)
    with pytest.raises(InputError, match="Leave out 'fold'"):
        sp.Accelerated(Branching(), "fold")
    with pytest.raises(InputError, match="got CallableModel"):
        sp.Accelerated(sp.CallableModel(lambda x: x.reshape(len(x), -1)[:, :3]), "bf16")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="leave out 'compile'"):
        sp.Accelerated(net, "compile")


def test_an_audit_searches_on_the_copy_and_says_so(net: nn.Module, x: Tensor, tmp_path) -> None:
    y = net(x).argmax(1)
    runs = [
        sp.audit(net, (x, y), "linf:0.05", attacks=["PGD"], faster=faster, out=tmp_path / "-".join(["run", *faster]))
        for faster in ((), ("channels-last", "fold"))
    ]
    plain, fast = (run.result() for run in runs)
    assert fast["spec"]["faster"] == ["fold", "channels-last"]
    assert fast["digest"] != plain["digest"]
    values = [result["subjects"][0]["robust"]["low"]["value"] for result in (plain, fast)]
    assert values[0] == pytest.approx(values[1], abs=1 / 64)
    assert "searched on a faster copy by" in (tmp_path / "run-channels-last-fold" / "report.html").read_text()


def test_on_the_command_line() -> None:
    done = CliRunner().invoke(
        app, ["attack", "FGSM", "--data", "digits", "--limit", "8", "--faster", "bf16,channels-last", "--json"]
    )
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(app, ["attack", "FGSM", "--data", "digits", "--faster", "bf17"])
    assert wrong.exit_code == 2
    assert "bf16" in wrong.output
