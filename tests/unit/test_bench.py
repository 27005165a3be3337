"""The benchmark: the judge, the counting, the rounds, and what is kept."""

import json
import signal
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import saddlepoint as sp
from saddlepoint.bench import CASES, Bar, Call, Case, Match, bench, judge, libraries, measure, suite, summary
from saddlepoint.bench.libraries import Library
from saddlepoint.bench.picture import picture
from saddlepoint.bench.rounds import Counted, seeded
from saddlepoint.bench.verdict import verdicts
from saddlepoint.cli.app import app
from saddlepoint.core.errors import InputError, UnknownName

ROOT = Path(__file__).parents[2]
NETS = ROOT / "tests" / "reference" / "cases"


class Signs(nn.Module):
    """Class 1 where the mean is above a half, else class 0; ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        above = self.weight * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-above, above, *[torch.full_like(above, -9.0)] * 8], 1)


X = torch.tensor([0.2, 0.3, 0.4, 0.45]).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
Y = torch.zeros(4, dtype=torch.long)
TINY = Case(
    name="tiny", about="a toy", group="PGD", bars=(Bar(1, "times", 0.0), Bar(1, "success", 0.0)), net="toy", n=4,
    norm=torch.inf, radius=0.15, budget="3 steps", ours=sp.attacks.PGD(steps=3), threat="linf:0.15", calls={},
)  # fmt: skip


def brighter(_: Any, net: nn.Module, x: Tensor, y: Tensor, goal: str, call: Call) -> Tensor:
    """A library: one forward, `passes` backwards, and a step up."""
    x = x.clone().requires_grad_()
    logits = net(x)
    for _ in range(call.parameters.get("passes", 1)):
        torch.autograd.grad(logits.sum(), x, retain_graph=True)
    if "wrong" in call.parameters:
        raise RuntimeError("no such thing\nand more")
    while "forever" in call.parameters:
        time.process_time()
    return x.detach() + call.parameters["by"]


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One library that is there, and one that is not."""
    fake = types.ModuleType("brightness")
    fake.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]  # all that find_spec looks for
    monkeypatch.setitem(sys.modules, "brightness", fake)
    here, gone = Library("brightness", "brightness", brighter), Library("gone", "gone_for_good", brighter)
    monkeypatch.setattr(libraries, "LIBRARIES", libraries.LIBRARIES | {"bright": here, "gone": gone})
    before = signal.getsignal(signal.SIGPROF)
    yield
    assert signal.getsignal(signal.SIGPROF) is before


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Case:
    """The toy as the only case there is."""
    case = replace(TINY, calls={"bright": Call("up", {"by": 0.12}), "gone": Call("up", {})})
    use(monkeypatch, case)
    monkeypatch.setattr(suite.nets, "match", lambda name, n, folder: Match(Signs(), X, Y))
    return case


def use(monkeypatch: pytest.MonkeyPatch, *cases: Case) -> None:
    """These cases and no others."""
    monkeypatch.setattr(suite, "CASES", {case.name: case for case in cases})


def played(case: Case, **how: Any) -> dict[str, list[dict[str, Any]]]:
    return measure(case, Match(Signs(), X, Y), **how)


def test_judge_clips_measures_and_believes_nobody() -> None:
    found = X + torch.tensor([0.4, 0.25, 0.15, 0.06]).view(4, 1, 1, 1)
    assert judge(Signs(), X, Y, found, norm=torch.inf, radius=None) == {"success": 1.0, "median": pytest.approx(0.15)}
    assert judge(Signs(), X, Y, found, norm=torch.inf, radius=0.2)["success"] == 0.5
    assert judge(Signs(), X, Y, found, norm=2, radius=0.2) == {"success": 0.25, "median": None}  # three are infinitely far
    assert judge(Signs(), X, Y, found.double(), norm=None, radius=None) == {"success": 1.0, "median": None}
    found[0] = torch.nan
    found[1] = 7.0  # clipped to 1: 0.7 away
    assert judge(Signs(), X, Y, found, norm=torch.inf, radius=0.71)["success"] == 0.75
    assert judge(Signs(), X, Y, found, norm=torch.inf, radius=0.69)["success"] == 0.5
    assert judge(Signs(), X, Y, found, norm=None, radius=None, goal="targeted")["success"] == 0.75  # class 1 is the next
    with pytest.raises(ValueError, match="shape"):
        judge(Signs(), X, Y, found[:2], norm=None, radius=None)


def test_rows_forward_and_backward_are_counted_exactly() -> None:
    counted = Counted(Signs())
    x = X.clone().requires_grad_()
    with torch.no_grad():
        counted(x)
    logits = counted(x[:3])
    assert (counted.forwards, counted.backwards) == (7, 0)
    for rank in range(3):
        torch.autograd.grad(logits[0, rank], x, retain_graph=True)  # all rows of the batch pass, though one is asked
    assert counted.backwards == 9
    counted(X).sum().backward()  # towards the weights alone
    assert (counted.forwards, counted.backwards) == (11, 13)


def test_libraries_and_ours_are_counted_from_outside() -> None:
    case = replace(TINY, radius=0.02, threat="linf:0.02", calls={"bright": Call("up", {"by": 0.01, "passes": 2})})
    found = summary(played(case, rounds=1))
    assert (found["bright"]["forwards"], found["bright"]["backwards"]) == (1, 2)
    result = sp.attack(sp.TorchModel(Signs()), X, Y, case.threat, case.ours)
    ours = found["saddlepoint"]["forwards"], found["saddlepoint"]["backwards"]
    assert ours == (result.forwards / 4, result.backwards / 4)
    assert ours[1] == 3


def test_rounds_are_interleaved_and_slow_libraries_play_fewer() -> None:
    calls = {"bright": Call("up", {"by": 0.1}), "bright (again)": Call("up", {"by": 0.1}, batch=1)}
    floor = lambda net, x, y: x + 0.1 * net(x).detach().sum().sign()  # noqa: E731
    order: list[tuple[str, int]] = []
    case = replace(TINY, calls=calls, floor=floor, rounds={"bright": 1})
    found = played(case, rounds=2, told=lambda label, turn, row: order.append((label, turn)))
    everybody = ["saddlepoint", "by hand", "bright", "bright (again)"]
    assert order == [(label, 0) for label in everybody] + [(label, 1) for label in everybody if label != "bright"]
    result = summary(found)
    assert result["bright"]["rounds"] == 1
    assert result["saddlepoint"]["ratio"] == 1


@pytest.mark.parametrize(("enough", "played_by_ours"), [(0.0, 3), (1e3, 15)])
def test_short_cases_play_more_rounds(enough: float, played_by_ours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saddlepoint.bench.rounds.ENOUGH", enough)
    calls = {"bright": Call("up", {"by": 0.1}), "bright (again)": Call("up", {"by": 0.1}, batch=1)}
    result = summary(played(replace(TINY, calls=calls, rounds={"bright": 1})))
    assert [result[label]["rounds"] for label in ("saddlepoint", "bright", "bright (again)")] == [
        played_by_ours,
        1,
        played_by_ours,
    ]


def test_what_a_library_raises_is_its_result() -> None:
    calls = {
        "gone": Call("up", {}),
        "bright": Call("up", {"wrong": True}),
        "bright (slow)": Call("up", {"forever": True}),
        "bright (odd)": Call("up", {"by": torch.zeros(2, 4, 1, 2, 2)}),
    }
    found = summary(played(replace(TINY, calls=calls), rounds=3, limit=0.05))
    assert found["gone"]["error"] == "not installed: pip install 'saddlepoint[bench]'"
    assert found["bright"]["error"] == "RuntimeError: no such thing"
    assert found["bright (slow)"]["error"] == "stopped after 0.05 s of CPU time"
    assert found["bright (odd)"]["error"].startswith("ValueError: returned a tensor of shape")
    assert "error" not in found["saddlepoint"]


def test_global_randomness_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    played(replace(TINY, calls={"bright": Call("up", {"by": 0.1})}), rounds=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_bars_hold_against_who_is_as_strong() -> None:
    def row(success: float, ratio: float, median: float | None = None) -> dict[str, Any]:
        return {"success": success, "ratio": ratio, "median": median, "forwards": 10, "backwards": 10}

    bars = Bar(1, "times", 2.0), Bar(1, "times", 0.5, "weak"), Bar(1, "success", -0.005), Bar(1, "floor", 1.1)
    results = {"saddlepoint": row(0.9, 1), "by hand": row(0.9, 0.8), "strong": row(0.9, 2.5), "weak": row(0.5, 0.4)}
    found = verdicts(replace(TINY, bars=bars), results)
    assert [bar["holds"] for bar in found] == [True, False, True, False]
    assert [bar["found"] for bar in found] == [2.5, 0.4, 0, 1.25]
    nearest = replace(TINY, radius=None, bars=(Bar(1, "median", 1.0), Bar(1, "times", 2), Bar(1, "times", 2, "absent")))
    results = {"saddlepoint": row(1, 1, 2.0), "near": row(1, 3, 1.9), "far": row(1, 1.5, 4.0), "absent": {"error": "no"}}
    found = verdicts(nearest, results)
    assert [bar["holds"] for bar in found] == [False, True, None]  # the far one is faster, and no rival


def test_done_cases_are_kept_unless_named(tiny: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "bench.json"
    turns: list[str] = []

    def told(case: Case, label: str, turn: int, row: Any) -> None:
        turns.append(label)

    report = bench(rounds=1, out=path, told=told)
    assert turns == ["saddlepoint", "bright"]
    entry = json.loads(path.read_text())["cases"]["tiny"]
    assert entry == report["cases"]["tiny"]
    assert entry["results"]["gone"]["error"].startswith("not installed")
    assert {"saddlepoint", "torch", "python"} <= set(entry["versions"])
    assert entry["machine"]["threads"] == 1
    bench(rounds=1, out=path, told=told)
    assert len(turns) == 2  # nothing was left to do
    bench("tiny", rounds=1, out=path, told=told)
    assert len(turns) == 4
    use(monkeypatch, tiny, replace(tiny, name="second"))
    bench(rounds=1, out=path, told=told)
    assert len(turns) == 6
    assert list(json.loads(path.read_text())["cases"]) == ["tiny", "second"]
    use(monkeypatch, replace(tiny, budget="another"))
    bench(rounds=1, out=path, told=told)
    assert len(turns) == 8  # the case is not what it was
    monkeypatch.setitem(sys.modules, "gone_for_good", sys.modules["brightness"])
    bench(rounds=1, out=path, told=told)
    assert turns[8:] == ["saddlepoint", "bright", "gone"]


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'pgd-digits'"):
        bench("pgd-digit")
    with pytest.raises(InputError, match="--cases"):
        bench("pgd-digits", cases=tmp_path)
    with pytest.raises(InputError, match="above zero"):
        bench("pgd-digits", rounds=0)
    (tmp_path / "bench.json").write_text("[]")
    with pytest.raises(InputError, match="no file of the benchmark"):
        bench("pgd-digits", out=tmp_path / "bench.json", cases=NETS)


def test_command_draws_tables_and_lists_cases(tiny: Case, tmp_path: Path) -> None:
    out = str(tmp_path / "bench.json")
    done = CliRunner().invoke(app, ["bench", "tiny", "--rounds", "1", "--out", out, "--cases", str(NETS)])
    assert done.exit_code == 0, done.output
    assert "tiny: a toy" in done.output
    assert "bar 1" in done.output
    plain = CliRunner().invoke(app, ["bench", "--out", out, "--json"])
    assert json.loads(plain.stdout)["cases"]["tiny"]["results"]["bright"]["rounds"] == 1
    assert CliRunner().invoke(app, ["bench", "tinny", "--out", out]).exit_code == 2
    listed = CliRunner().invoke(app, ["list", "bench", "--json"])
    assert [row["name"] for row in json.loads(listed.stdout)["bench"]] == sorted(CASES)


def test_a_picture_shows_what_was_measured(tmp_path: Path) -> None:
    case = CASES["ddn"]
    report = {"cases": {"ddn": suite.entry(case, played(replace(TINY, calls={}), rounds=1), 1.0)}}
    assert picture(report, case.group, tmp_path / "group.png")
    assert (tmp_path / "group.png").stat().st_size > 1000
    assert not picture(report, "others", tmp_path / "others.png")


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_cases_are_complete(case: Case) -> None:
    assert case.bars
    assert all(libraries.library_of(label) for label in case.calls)
    assert all(bar.against in {None, *case.calls} for bar in case.bars)
    assert set(case.rounds) <= set(case.calls)
    assert case.floor is not None or all(bar.kind != "floor" for bar in case.bars)
    assert json.loads(json.dumps(case.data())) == case.data()


def test_torchattacks_begins_from_the_seed_of_the_round() -> None:
    class Seeded:
        def __init__(self, net: nn.Module, eps: float, seed: int = 0) -> None:
            self.found = torch.tensor([eps, seed])

        def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.found

    class Unseeded(Seeded):
        def __init__(self, net: nn.Module, eps: float) -> None:
            super().__init__(net, eps, 7)

    library, nothing = types.SimpleNamespace(Seeded=Seeded, Unseeded=Unseeded), torch.zeros(0)
    with seeded(5):
        found = [
            libraries.run_torchattacks(library, nn.Identity(), nothing, nothing, "", Call(n, {"eps": 1}))
            for n in ("Seeded", "Unseeded")
        ]
    assert [f.tolist() for f in found] == [[1, 5], [1, 7]]
