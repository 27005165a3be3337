"""The command line, end to end on a small slice: exit codes, plain data, files."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from saddlepoint.cli import show
from saddlepoint.cli.app import app
from saddlepoint.cli.options import Exit


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show.OUT, "_width", 240)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adversarially trained net for the 8 x 8 digits, made by the command line."""
    out = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    done = run(
        "train", out, "--data", "digits", "--epochs", "6", "--attack", "PGD", "--threat", "linf:0.1",
        "--set", "steps=3", "--warmup", "1", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["test_accuracy"] > 0.8
    assert summary["trainer"]["attack"]["steps"] == 3
    return out


@pytest.fixture
def audited(weights: Path, tmp_path: Path) -> tuple[list[str], Path]:
    out = tmp_path / "run"
    command = ["audit", "small-cnn", "--weights", str(weights), "--data", "digits", "--threat", "linf:0.05", "--limit", "30"]
    return [*command, "--attack", "PGD", "--attack", "Square", "--queries", "40", "--out", str(out)], out


def test_audit_end_to_end(audited: tuple[list[str], Path]) -> None:
    command, out = audited
    done = run(*command)
    assert done.exit_code == Exit.FINE, done.output
    assert "worst case per example" in done.output
    result = json.loads((out / "result.json").read_text())
    subject = result["subjects"][0]
    assert result["schema"] == 1
    assert result["complete"]
    assert subject["verdict"]["valid"]
    assert 0 < subject["robust"]["low"]["value"] <= subject["clean"]["value"]
    assert "saddlepoint.Attack" not in result["bibtex"]
    assert "madry2018towards" in result["bibtex"]
    lines = (out / "records.csv").read_text().splitlines()
    assert len(lines) > 30 * 2
    page = (out / "report.html").read_bytes()
    assert len(page) < 1_000_000
    again = run(*command, "--json")
    assert json.loads(again.stdout) == result
    assert run("report", out, "--json").exit_code == 0


def test_fail_under(audited: tuple[list[str], Path]) -> None:
    command, _ = audited
    assert run(*command, "--fail-under", "0.05").exit_code == Exit.FINE
    below = run(*command, "--fail-under", "0.999")
    assert below.exit_code == Exit.BELOW
    assert "below 0.999" in below.output


def test_evidence_that_is_not_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.full((len(x), 10), float('nan')) + x.flatten(1)[:, :1]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = run(
        "audit", "broken_net:Net", "--data", "digits", "--limit", "5", "--threat", "linf:0.1", "--out", tmp_path / "r"
    )
    assert done.exit_code == Exit.NOT_VALID, done.output
    assert "no number" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit", "--threat", "lif:0.3"], "Did you mean 'Linf'?"),
        (["audit", "--preset", "quik"], "quik"),
        (["audit", "--budget", "soon"], "soon"),
        (["audit", "--device", "warp"], "warp"),
        (["audit", "no_such_module:net"], "no_such_module"),
        (["audit", "--batch", "0"], "batch"),
        (["audit", "--threat", "l2"], "radius"),
        (["audit", "--data", "mnist5k"], "Did you mean"),
        (["audit", "--bounds", "0"], "Bounds"),
        (["attack", "PGDD"], "Did you mean 'PGD'?"),
        (["attack", "PGD", "--set", "stepps=3"], "Did you mean 'steps'?"),
        (["attack", "PGD", "--set", "steps"], "name=value"),
        (["attack", "DDN", "--threat", "linf:0.1", "--data", "digits"], "DDN searches L2"),
        (["train", "weights.pkl"], "safetensors"),
        (["report", "nowhere"], "no run"),
        (["list", "atacks"], "attacks"),
    ],
)
def test_usage_errors(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path))
    done = run(*arguments)
    assert done.exit_code == Exit.USAGE
    text = done.output + capfd.readouterr().err
    assert said in text
    assert "Traceback" not in text


def test_attack(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.safetensors"
    done = run(
        "attack",
        "DeepFool",
        "--weights",
        weights,
        "--data",
        "digits",
        "--threat",
        "l2",
        "--limit",
        "10",
        "--out",
        out,
        "--json",
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["success_rate"]["value"] == 1.0
    assert found["n"] == 10
    assert out.exists()
    toml = tmp_path / "mine.toml"
    toml.write_text('name = "PGD"\nsteps = 5\n')
    done = run(
        "attack",
        toml,
        "--weights",
        weights,
        "--data",
        "digits",
        "--threat",
        "linf:0.3",
        "--limit",
        "5",
        "--goal",
        "targeted:3",
    )
    assert done.exit_code == 0, done.output
    assert "attack success rate" in done.output


def test_list_and_doctor() -> None:
    listed = json.loads(run("list", "--json").stdout)
    assert {"APGD", "FGSM", "HopSkipJump"} <= {row["name"] for row in listed["attacks"]}
    assert {"Linf", "L2", "L1", "L0", "Spatial", "Flow", "Color", "Tabular"} == {row["name"] for row in listed["threats"]}
    some = json.loads(run("list", "attacks", "AP*", "--json").stdout)["attacks"]
    assert [row["name"] for row in some] == ["APGD"]
    (row,) = some
    assert row["access"] == "gradients"
    assert row["seeks"] == "budget"
    assert row["threats"].startswith("Linf, L2")
    assert row["paper"].startswith("Croce")
    assert run("list").exit_code == 0
    found: dict[str, Any] = json.loads(run("doctor", "--json").stdout)
    assert found["torch"]


@pytest.mark.parametrize("command", [[], ["audit"], ["attack"], ["train"], ["list"], ["trace"], ["rubbish"]])
def test_help_does_not_import_torch(command: list[str]) -> None:
    code = (
        "import sys\nfrom saddlepoint.cli import app\nsys.argv = ['saddlepoint', *sys.argv[1:], '--help']\n"
        "import atexit\natexit.register(lambda: print('TORCH' if 'torch' in sys.modules else 'LIGHT'))\napp.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("LIGHT")
    assert "Usage" in done.stdout


def test_import_is_light() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, saddlepoint; print('torch' in sys.modules, saddlepoint.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[0] == "False"


FAULTS = """
import resource, sys, torch
from saddlepoint.cli.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
net, x = torch.nn.Conv2d(1, 32, 3, padding=1), torch.rand(400, 1, 28, 28)  # above what glibc ever adapts to
for turn in range(20):
    if turn == 15:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    net(x).relu().sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver()[0], reason="only the GNU C library gives memory back at once")
def test_a_pass_finds_the_memory_of_the_one_before() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "let go")
    )
    assert kept < given_back / 4
