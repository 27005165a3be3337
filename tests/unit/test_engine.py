"""A run survives: kill -9, interruption, full disks, damage, budgets; and says the same afterwards."""

import errno
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import saddlepoint as sp
from saddlepoint.auditing import plan
from saddlepoint.core.errors import InputError, RunError
from saddlepoint.data import Arrays
from saddlepoint.evaluation import store as store_room
from saddlepoint.evaluation.run import Run
from saddlepoint.evaluation.store import Store
from saddlepoint.models.train import seeded

KILLS = 25

SCRIPT = """
import sys, time, torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("tested", {file!r}); tested = module_from_spec(spec); spec.loader.exec_module(tested)
made = tested.small({out!r})
print("ready", flush=True)
made.run(on_chunk=lambda chunk, done: print("done" if done else "new", *chunk.key, sep="|", flush=True), report=False)
print("complete", flush=True)
"""


def digits(n: int = 40) -> Arrays:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(n, 1, 6, 6, generator=generator)
    return Arrays("noise", x.numpy(), network()(x).argmax(1).numpy(), [str(i) for i in range(4)])


def network() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)), 1)


def small(out: Path | str, **more: Any) -> Any:
    settings: dict[str, Any] = {"attacks": ["FGSM", "PGD", "DeepFool"], "limit": 40, "batch": 10, "out": out}
    return plan({"net": network()}, digits(), "linf:0.05", **(settings | more))


def timeless(run: Run) -> dict[str, Any]:
    """Everything a run says, but for the times it took."""
    result = run.result()
    result.pop("environment")  # says whether the checkout has changes, and it may get some meanwhile
    for subject in result["subjects"]:
        for attack in subject["attacks"]:
            attack.pop("seconds")
    return result


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    return small(tmp_path_factory.mktemp("reference") / "run").run(report=False)


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing(tmp_path: Path, reference: Run) -> None:
    """25 kills, each at a random moment; every acknowledged chunk is there afterwards, and none is done twice."""
    out = tmp_path / "run"
    script = SCRIPT.format(here=str(Path(__file__).parent), file=__file__, out=str(out))
    dice = random.Random(0)
    acknowledged: list[str] = []
    kills = 0
    # The whole run takes a fraction of a second: a kill falls before, into, or between chunks.
    while kills < KILLS:
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(dice.uniform(0, 0.15))
            process.kill()
            lines = process.stdout.read().splitlines()
        kills += 1
        acknowledged += [line for line in lines if line.startswith("new|")]
        keys = {tuple(line.split("|")[1:]) for line in acknowledged}
        assert len(keys) == len(acknowledged), "a chunk was done twice"
        if (out / "run.sqlite").exists():
            with Store(out, write=False) as store:
                stored = {(s, t, str(start)) for s, t, start in store.done()}
            assert keys <= stored, "an acknowledged chunk is lost"
        if "complete" in lines:  # begin again, so that every kill has something to interrupt
            assert json.dumps(timeless(Run(out))) == json.dumps(timeless(reference))
            subprocess.run(["rm", "-r", str(out)], check=True)
            acknowledged = []
    final = small(out).run(report=False)
    assert json.dumps(timeless(final)) == json.dumps(timeless(reference))
    assert final.complete


def test_again_is_a_no_op(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = small(out).run(report=False)
    before = (out / "result.json").read_bytes()
    seen: list[bool] = []
    small(out).run(on_chunk=lambda _, done: seen.append(done), report=False)
    assert seen
    assert all(seen), "something was computed again"
    assert (out / "result.json").read_bytes() == before
    assert first.complete


def test_interrupt_keeps_what_is_done(tmp_path: Path, reference: Run) -> None:
    out, seen = tmp_path / "run", []

    def stop_after_five(chunk: Any, _: bool) -> None:
        seen.append(chunk.key)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(out).run(on_chunk=stop_after_five, report=False)
    new: list[Any] = []
    small(out).run(on_chunk=lambda chunk, done: new.append(chunk.key) if not done else None, report=False)
    assert not set(new) & set(seen)
    assert json.dumps(timeless(Run(out))) == json.dumps(timeless(reference))


def test_time_budget_brackets_the_accuracy(tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = small(out, attacks=["FGSM", "PGD"])
    run = made.run(seconds=0.0, report=False)
    assert not run.complete
    subject = run.spec.subjects[0]
    bracket = run.robust(subject)
    assert bracket.low.count == 0
    assert bracket.undecided == run.n
    whole = made.run(report=False).robust(subject)
    assert whole.undecided == 0
    assert bracket.low.value <= whole.low.value <= bracket.high.value


def test_query_budget_is_kept(tmp_path: Path) -> None:
    run = small(tmp_path / "run", queries=5).run(report=False)
    assert max(record["queries"] for record in run.records) <= 5
    assert "OUT_OF_QUERIES" in {record["outcome"] for record in run.records}


@pytest.mark.parametrize("fail_at", range(4))
def test_full_disk_is_one_sentence_and_resumable(
    tmp_path: Path, reference: Run, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    out, calls = tmp_path / "run", 0
    write = store_room.write_atomically

    def full(path: Path, blob: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > fail_at:
            path.with_name(".half.tmp").write_bytes(blob[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, blob)

    with monkeypatch.context() as patch:
        patch.setattr(store_room, "write_atomically", full)
        with pytest.raises(RunError, match=r"No space left on device.*same command again"):
            small(out).run(report=False)
    with Store(out, write=False) as store:
        assert len(store.done()) == fail_at
    assert json.dumps(timeless(small(out).run(report=False))) == json.dumps(timeless(reference))


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of 300 kB, where the machine lets one be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        with pytest.raises(RunError, match="same command again"):
            small(disk / "run", batch=2, attacks=["FGSM", "PGD", "DeepFool", "BIM", "APGD"]).run(report=False)
        with Store(disk / "run", write=False) as store:
            done = store.done()
            assert done
            assert len(store.records()) == 2 * len(done) or len(store.records()) > 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_damaged_shard_is_done_again(tmp_path: Path, reference: Run) -> None:
    out = tmp_path / "run"
    small(out).run(report=False)
    shard = sorted((out / "adv").glob("*.safetensors"))[3]
    blob = bytearray(shard.read_bytes())
    blob[len(blob) // 2] ^= 1
    shard.write_bytes(bytes(blob))
    new: list[Any] = []
    small(out).run(on_chunk=lambda chunk, done: new.append(chunk.key) if not done else None, report=False)
    assert len(new) == 1
    assert json.dumps(timeless(Run(out))) == json.dumps(timeless(reference))


def test_damaged_database_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small(out).run(report=False)
    for extra in ("-wal", "-shm"):
        (out / f"run.sqlite{extra}").unlink(missing_ok=True)
    (out / "run.sqlite").write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(RunError, match=r"damaged.*--fresh"):
        small(out).run(report=False)
    assert small(out, fresh=True).run(report=False).complete


def test_other_settings_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small(out).run(report=False)
    with pytest.raises(RunError, match="other settings"):
        small(out, seed=1).run(report=False)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    made = small(tmp_path / "run")
    with Store(made.folder, made.spec.to_json()), pytest.raises(RunError, match="Another process"):
        made.run(report=False)


def test_fresh_removes_runs_only(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not the folder of a run"):
        small(tmp_path, fresh=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_records_agree_with_the_attack(reference: Run) -> None:
    """What the run says of PGD is what `attack` says of it."""
    data = digits()
    x, y = data.batch(list(reference.spec.examples))
    task = next(t for t in reference.spec.tasks if t.attack["name"] == "PGD" and t.role == "main")
    method, threat = task.make()
    result = sp.attack(sp.TorchModel(network()), x, y, threat, method, ids=torch.tensor(reference.spec.examples), batch=10)
    row = reference.attack_row(reference.spec.subjects[0], task)
    assert row["success"]["count"] == result.success_rate.count
    assert row["robust"]["count"] == result.robust_accuracy.count
    worst = reference.robust(reference.spec.subjects[0])
    assert worst.low.count <= result.robust_accuracy.count


def test_worst_case_is_per_example(reference: Run) -> None:
    """The mean of the minimum, not the minimum of the means."""
    subject = reference.spec.subjects[0]
    broken: set[int] = set()
    for task in reference.tasks("main"):
        columns = reference.columns(subject.name, task.name)
        broken |= set(columns["example"][columns["outcome"] == "FOUND"].tolist())
    right, _ = reference.clean(subject)
    assert reference.robust(subject).low.count <= int(right.sum()) - len(broken)


def test_curve_never_rises(reference: Run) -> None:
    counts = [point["count"] for point in reference.curve(reference.spec.subjects[0])]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]


@pytest.mark.parametrize("model", ["nan", "constant", "labels", "scores"])
def test_verdicts(tmp_path: Path, model: str) -> None:
    """A number that cannot be trusted is not called robust accuracy."""
    net = network()

    class Throws(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            clean = (x * 255).sub((x * 255).round()).abs().flatten(1).amax(1) < 1
            return torch.where((clean & (x.flatten(1).sum(1) > 0))[:, None] & (x.mean() > 2), net(x), net(x) / 0 * 0)

    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0, 0, 0]]).expand(len(x), 4) + 0 * x.flatten(1).sum(1, keepdim=True)

    made: Any = {
        "nan": Throws(),
        "constant": Constant(),
        "labels": sp.CallableModel(lambda x: net(torch.as_tensor(x)).argmax(1), returns="labels"),
        "scores": sp.CallableModel(lambda x: net(torch.as_tensor(x)).detach(), returns="logits"),
    }[model]
    run = plan({"m": made}, digits(12), "linf:0.05", limit=12, out=tmp_path / "run", batch=6).run(report=False)
    verdict = run.verdict(run.spec.subjects[0])
    assert verdict.valid == (model in ("labels", "scores")), verdict.sentence
    if model == "nan":
        assert "NaN" in verdict.sentence
        assert run.robust(run.spec.subjects[0]).low.count == 0


def test_sigterm_through_the_command_line(tmp_path: Path) -> None:
    """SIGTERM ends with code 4 within seconds, and the same command ends what it began."""
    environment = {"SADDLEPOINT_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "saddlepoint", "audit", "small-cnn", "--data", "digits", "--limit", "20", "--json"]
    command += [
        "--attack",
        "Square",
        "--attack",
        "PGD",
        "--threat",
        "linf:0.02",
        "--batch",
        "5",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "run" / "adv").glob("*.safetensors")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 4, complaint
    assert "same command" in complaint
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
