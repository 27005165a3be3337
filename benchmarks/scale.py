"""How cost grows: peak memory and CPU time over the number of examples, and over the rows a batch.

    python benchmarks/scale.py benchmarks/scale.json

The digits of the reference case, repeated, and its net; PGD of five steps in a ball so small that nothing is fooled, so that
every example costs the same. Each line is a fresh process on one thread: `attack` is `sp.attack` on arrays in memory, and
`engine` what an audit does with a .npz file, chunk by chunk, with a record on disk, but without its controls. Peak memory is
that of the process, torch and all (`start`: after the imports and one forward pass). A batch of a few rows is compared with
the loop written by hand, in the same process, in turn.
"""

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
from saddlepoint.bench.floors import pgd
from saddlepoint.bench.nets import match
from saddlepoint.bench.suite import machine
from saddlepoint.evaluation.engine import Contender, execute

CASES = Path(__file__).parent.parent / "tests" / "reference" / "cases"
EPS, STEPS = 0.002, 5
SIZES, BATCHES, ROUNDS = (100, 1000, 10_000), (1, 8, 64, 512), 3


def examples(n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The net, and so many images: those of the case, again and again."""
    case = match("digits", 200, CASES)
    rows = torch.arange(n) % 200
    return case.net, case.x[rows], case.y[rows]


def grown(kind: str, n: int) -> dict[str, float]:
    """Seconds and peak of one run in this process."""
    net, x, y = examples(n)
    attack = sp.attacks.PGD(steps=STEPS, step_size=EPS / 4)
    started = time.process_time()
    if kind == "attack":
        sp.attack(sp.TorchModel(net), x, y, sp.Linf(EPS), attack, batch=256)
    if kind == "engine":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.npz"
            np.savez(path, x=x.numpy(), y=y.numpy())
            del x, y
            made = plan(sp.TorchModel(net), path, sp.Linf(EPS), attacks=[attack], limit=None, batch=256, out=f"{folder}/run")
            contenders = {name: Contender(model, model) for name, model in made.models.items()}
            execute(made.spec, contenders, made.data, made.folder, roles=("main",))
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kilobytes, on Linux
    return {"seconds": round(seconds, 2), "peak_megabytes": round(peak, 1)}


def in_a_process(kind: str, n: int) -> dict[str, float]:
    """The same in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", kind, str(n)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
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

    times = in_turn(partial(sp.attack, model, x, y, sp.Linf(EPS), attack, batch=batch), by_hand)
    ours, hand = (1e6 * seconds / n for seconds in times)
    return {"n": n, "ours": round(ours, 1), "by_hand": round(hand, 1), "ratio": round(ours / hand, 3)}


def in_turn(*runs: Callable[[], Any]) -> list[float]:
    """Median CPU seconds of each, interleaved, after one of each to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(ROUNDS + 1):
        for run, found in zip(runs, times, strict=True):
            started = time.process_time()
            run()
            if turn:
                found.append(time.process_time() - started)
    return [statistics.median(found) for found in times]


def main(path: str) -> None:
    """Measure, print, and write down."""
    torch.set_num_threads(1)
    lines = [("start", 100), *((kind, n) for kind in ("attack", "engine") for n in SIZES)]
    report: dict[str, Any] = {
        "command": "python benchmarks/scale.py benchmarks/scale.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "machine": machine(),
        "examples": {},
        "batches": {},
    }
    for kind, n in lines:
        report["examples"][f"{kind} {n}"] = found = in_a_process(kind, n)
        print(kind, n, found, flush=True)
    for batch in BATCHES:
        report["batches"][str(batch)] = found = per_example(batch)
        print("batch", batch, found, flush=True)
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        torch.set_num_threads(1)
        print(json.dumps(grown(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1])
