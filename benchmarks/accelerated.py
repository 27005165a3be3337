"""What each means of `Accelerated` saves, and whether it costs strength: PGD of 40 steps on two networks.

    python benchmarks/accelerated.py benchmarks/accelerated.json

CPU time of one thread against the network as it is, in the same round, in turn; the median of the rounds after a first one
that warms up (and compiles). The bits of a bfloat16 product, and what it saves, depend on the processor.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import saddlepoint as sp
from saddlepoint.bench.nets import match
from saddlepoint.bench.suite import machine

CASES = Path(__file__).parent.parent / "tests" / "reference" / "cases"
NETS = {"fashion-robust": (200, 0.1), "residual": (100, 0.05)}  # how many images, and the radius in l-inf
MEANS: list[tuple[str, ...]] = [
    (),
    ("fold",),
    ("channels-last",),
    ("compile",),
    ("bf16",),
    ("fold", "channels-last"),
    ("fold", "channels-last", "bf16"),
]
ROUNDS = 3


def measure(name: str, n: int, eps: float) -> dict[str, Any]:
    """Every means on one network, round by round."""
    case = match(name, n, CASES)
    plain, attack = sp.TorchModel(case.net), sp.attacks.PGD(steps=40, step_size=eps / 16)
    models: dict[str, sp.Model] = {" ".join(m) or "none": sp.Accelerated(plain, *m) if m else plain for m in MEANS}
    seconds: dict[str, list[float]] = {label: [] for label in models}
    broken: dict[str, int] = {}
    for turn in range(ROUNDS + 1):
        for label, model in models.items():
            started = time.process_time()
            result = sp.attack(model, case.x, case.y, sp.Linf(eps), attack)
            if turn:
                seconds[label].append(time.process_time() - started)
            broken[label] = int(result.rows(sp.Outcome.FOUND).sum())
    return {
        label: {
            "time": round(statistics.median(a / b for a, b in zip(found, seconds["none"], strict=True)), 3),
            "broken": broken[label],
        }
        for label, found in seconds.items()
    } | {"n": n, "threat": f"linf:{eps:g}"}


def main(path: str) -> None:
    """Measure, print, and write down."""
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "command": "python benchmarks/accelerated.py benchmarks/accelerated.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "machine": machine(),
        "nets": {},
    }
    for name, (n, eps) in NETS.items():
        report["nets"][name] = found = measure(name, n, eps)
        print(name, found, flush=True)
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
