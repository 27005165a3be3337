"""How cost grows: peak memory and CPU time over the number of examples, and over the rows a batch.

    python benchmarks/scale.py benchmarks/scale.json [LOOP ...]

The digits of the reference case, repeated, and its net; PGD of five steps in a ball so small that nothing is fooled, so that
every example costs the same. Each line is a fresh process on one thread: `attack` is `sp.attack` on arrays in memory, and
`engine` what an audit does with a .npz file, chunk by chunk, with a record on disk, but without its controls; both at 100
rows a batch. Peak memory is that of the process, torch and all (`start`: after the imports and one forward pass). What the
game costs is seen beside loops written by hand, in the same process, in turn: five steps on batches of few and of many rows,
forty on two networks, and one pass of adversarial training with seven steps. These loops run as the `saddlepoint` command
does, which keeps freed memory; the last three in fresh processes, since one differs from the next by several percent. Where
loops are named, only these are measured anew.
"""

import copy
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint.auditing import plan
from saddlepoint.bench.floors import madry, pgd
from saddlepoint.bench.nets import match
from saddlepoint.bench.suite import machine
from saddlepoint.cli.memory import keep_freed_memory
from saddlepoint.data import Arrays
from saddlepoint.evaluation.engine import Contender, execute

CASES = Path(__file__).parent.parent / "tests" / "reference" / "cases"
EPS, STEPS = 0.002, 5
SIZES, BATCHES, ROUNDS = (100, 1000, 10_000), (1, 8, 64, 512), 7
PROCESSES, EACH = 15, 4  # fresh ones for a loop, and rounds in each
LOOPS = {"evaluation": ("digits", 256), "evaluation of a larger network": ("residual", 64), "training": ("untrained", 256)}


def examples(n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The net, and so many images: those of the case, again and again."""
    case = match("digits", 200, CASES)
    rows = torch.arange(n) % 200
    return case.net, case.x[rows], case.y[rows]


def given(model: sp.Model) -> sp.Model:
    """A model as it is."""
    return model


def grown(kind: str, n: int) -> dict[str, float]:
    """Seconds and peak of one run in this process."""
    net, x, y = examples(n)
    attack = sp.attacks.PGD(steps=STEPS, step_size=EPS / 4)
    started = time.process_time()
    if kind == "attack":
        sp.attack(sp.TorchModel(net), x, y, sp.Linf(EPS), attack, batch=100)
    if kind == "engine":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npz"
            np.savez(path, x=x.numpy(), y=y.numpy())
            del x, y
            made = plan(sp.TorchModel(net), path, sp.Linf(EPS), attacks=[attack], limit=None, batch=100, out=f"{folder}/run")
            contenders = {name: Contender(model, repair=given, teach=given) for name, model in made.models.items()}
            execute(made.spec, contenders, made.data, made.folder, roles=("main",))
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux
    return {"seconds": round(seconds, 2), "peak_megabytes": round(peak, 1)}


def in_a_process(kind: str, what: int | str) -> dict[str, Any]:
    """A run of so many examples, or a loop, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", kind, str(what)], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def per_example(batch: int) -> dict[str, float]:
    """Microseconds an example, ours and by hand, in batches of so many rows."""
    n = max(batch, min(512, 32 * batch))
    net, x, y = examples(n)
    net.requires_grad_(False)
    model, attack = sp.TorchModel(net), sp.attacks.PGD(steps=STEPS, step_size=EPS / 4)

    def by_hand() -> None:
        for part in torch.arange(n).split(batch):
            pgd(net, x[part], y[part], eps=EPS, step_size=EPS / 4, steps=STEPS)

    ours, hand, ratio = in_turn(partial(sp.attack, model, x, y, sp.Linf(EPS), attack, batch=batch), by_hand, ROUNDS)
    return {"n": n, "ours": round(1e6 * ours / n, 1), "by_hand": round(1e6 * hand / n, 1), "ratio": round(ratio, 3)}


def overhead(kind: str) -> dict[str, Any]:
    """Ours and a loop by hand, both at `batch` rows."""
    name, batch = LOOPS[kind]
    case = match(name, 2000 if kind == "training" else 200, CASES)
    rows = torch.arange(2000 if kind == "training" else batch) % len(case.x)
    x, y = case.x[rows], case.y[rows]
    if kind == "training":
        inner = sp.attacks.PGD(loss="cross_entropy", steps=7, step_size=0.025)
        trainer = sp.Trainer(epochs=1, batch=batch, attack=inner, threat=sp.Linf(0.1))
        how = {"eps": 0.1, "steps": 7, "step_size": 0.025, "batch": batch, "learning_rate": trainer.learning_rate}
        data = Arrays("digits", x.numpy(), y.numpy())
        runs = (
            lambda: trainer.fit(copy.deepcopy(case.net), data),
            lambda: madry(copy.deepcopy(case.net), x, y, **how),
        )
    else:
        net = case.net.requires_grad_(False)
        model, attack = sp.TorchModel(net), sp.attacks.PGD(steps=40, step_size=EPS / 16)
        runs = (
            lambda: sp.attack(model, x, y, sp.Linf(EPS), attack),
            lambda: pgd(net, x, y, eps=EPS, step_size=EPS / 16, steps=40),
        )
    return {"network": name, "batch": batch, "ratio": round(in_turn(*runs, EACH)[2], 3)}


def in_turn(ours: Callable[[], Any], by_hand: Callable[[], Any], count: int) -> tuple[float, float, float]:
    """Median CPU seconds of both and of their ratio in a round, after a round to warm up."""
    rounds = []
    for _ in range(count + 1):
        started = time.process_time()
        ours()
        between = time.process_time()
        by_hand()
        rounds.append((between - started, time.process_time() - between))
    ours_each, hand_each = zip(*rounds[1:], strict=True)
    ratios = [a / b for a, b in rounds[1:]]
    return statistics.median(ours_each), statistics.median(hand_each), statistics.median(ratios)


def looped(report: dict[str, Any], *kinds: str) -> None:
    """Loops in fresh processes: the median, and each."""
    for kind in kinds:
        each = [in_a_process("loop", kind) for _ in range(PROCESSES)]
        ratios = sorted(one["ratio"] for one in each)
        report["loops"][kind] = found = each[0] | {"ratio": statistics.median(ratios), "each": ratios}
        print(kind, found, flush=True)


def growth() -> dict[str, Any]:
    """What is not a loop: growth with examples, and with the rows a batch."""
    lines = [("start", 100), *((kind, n) for kind in ("attack", "engine") for n in SIZES)]
    report: dict[str, Any] = {
        "command": "python benchmarks/scale.py benchmarks/scale.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "machine": machine(),
        "examples": {},
        "batches": {},
        "loops": {},
    }
    for kind, n in lines:
        report["examples"][f"{kind} {n}"] = found = in_a_process(kind, n)
        print(kind, n, found, flush=True)
    keep_freed_memory()
    for batch in BATCHES:
        report["batches"][str(batch)] = found = per_example(batch)
        print("batch", batch, found, flush=True)
    return report


def main(path: Path, *kinds: str) -> None:
    """Measure, print, and write down."""
    torch.set_num_threads(1)
    report = json.loads(path.read_text()) if kinds else growth()
    looped(report, *(kinds or LOOPS))
    path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        torch.set_num_threads(1)
        if sys.argv[2] == "loop":
            keep_freed_memory()
            print(json.dumps(overhead(sys.argv[3])))
        else:
            print(json.dumps(grown(sys.argv[2], int(sys.argv[3]))))
    else:
        main(Path(sys.argv[1]), *sys.argv[2:])
