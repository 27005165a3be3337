"""How cost grows: peak memory and CPU time over the number of examples, and over the rows a batch.

    python benchmarks/scale.py benchmarks/scale.json [LOOP ...]

The digits of the reference case, repeated, and its net; PGD of five steps in a ball so small that nothing is fooled, so that
every example costs the same. Each line is a fresh process on one thread: `attack` is `sp.attack` on arrays in memory, and
`engine` what an audit does with a .npz file, chunk by chunk, with a record on disk, but without its controls; both at 100
rows a batch. Peak memory is that of the process, torch and all (`start`: after the imports and one forward pass). What the
game costs is seen beside loops written by hand, in the same process, in turn: five steps on batches of few and of many rows,
forty on two networks, and one pass of adversarial training with seven steps. The last three stand beside two loops, as one
would write it and with the network laid out as ours lays it out, for what the game alone costs. All these run as the
`saddlepoint` command does, which keeps freed memory; the last three in fresh processes, since one differs from the next by
several percent. Where loops are named, only these are measured anew.
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
from itertools import pairwise
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
from saddlepoint.models.layout import ChannelsLast

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

    rounds = in_turn(partial(sp.attack, model, x, y, sp.Linf(EPS), attack, batch=batch), by_hand, count=ROUNDS)
    ours, hand = (round(1e6 * statistics.median(each) / n, 1) for each in zip(*rounds, strict=True))
    return {"n": n, "ours": ours, "by_hand": hand, "ratio": beside(rounds, 1)}


def overhead(kind: str) -> dict[str, Any]:
    """Ours beside a loop by hand, and beside that loop in the layout of ours, each at `batch` rows."""
    name, batch = LOOPS[kind]
    case = match(name, 2000 if kind == "training" else 200, CASES)
    rows = torch.arange(2000 if kind == "training" else batch) % len(case.x)
    x, y = case.x[rows], case.y[rows]
    if kind == "training":
        inner = sp.attacks.PGD(loss="cross_entropy", steps=7, step_size=0.025)
        trainer = sp.Trainer(epochs=1, batch=batch, attack=inner, threat=sp.Linf(0.1))
        data = Arrays("digits", x.numpy(), y.numpy())
        fresh, ours = partial(copy.deepcopy, case.net), partial(trainer.fit, data=data)
        rate = trainer.learning_rate
        by_hand = partial(madry, x=x, y=y, eps=0.1, steps=7, step_size=0.025, batch=batch, learning_rate=rate)
    else:
        net = case.net.requires_grad_(False)
        attack = sp.attacks.PGD(steps=40, step_size=EPS / 16)
        fresh, ours = (lambda: net), lambda net: sp.attack(sp.TorchModel(net), x, y, sp.Linf(EPS), attack)
        by_hand = partial(pgd, x=x, y=y, eps=EPS, step_size=EPS / 16, steps=40)

    def laid_out() -> None:
        net = fresh()
        with ChannelsLast(net) as layout:
            layout.offer(net.eval(), x[:batch])
            by_hand(net)

    rounds = in_turn(lambda: ours(fresh()), lambda: by_hand(fresh()), laid_out, count=EACH)
    return {"network": name, "batch": batch, "ratio": beside(rounds, 1), "laid_out": beside(rounds, 2)}


def in_turn(*runs: Callable[[], Any], count: int) -> list[tuple[float, ...]]:
    """CPU seconds of each in `count` rounds, after a round to warm up."""
    rounds = []
    for _ in range(count + 1):
        times = [time.process_time()]
        for run in runs:
            run()
            times.append(time.process_time())
        rounds.append(tuple(after - before for before, after in pairwise(times)))
    return rounds[1:]


def beside(rounds: list[tuple[float, ...]], other: int) -> float:
    """Median, over rounds, of the first run's time over that of another."""
    return round(statistics.median(each[0] / each[other] for each in rounds), 3)


def looped(report: dict[str, Any], *kinds: str) -> None:
    """Loops in fresh processes: the median, and each."""
    for kind in kinds:
        each = [in_a_process("loop", kind) for _ in range(PROCESSES)]
        found = each[0]
        for key in ("ratio", "laid_out"):
            ratios = sorted(one[key] for one in each)
            found |= {key: statistics.median(ratios), f"each_{key}": ratios}
        report["loops"][kind] = found
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
