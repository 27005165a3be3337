"""Where the time of our side of the benchmark's cases goes: the network, the game around it, the attack's arithmetic.

    python benchmarks/profiles.py benchmarks/profiles.json

Shares of one thread's time under Python's profiler, which makes everything but the network look slower than it is.
"""

import copy
import cProfile
import json
import pstats
import sys
from pathlib import Path
from typing import Any

import torch

import saddlepoint as sp
from saddlepoint.bench import CASES
from saddlepoint.bench.case import Case
from saddlepoint.bench.nets import match
from saddlepoint.bench.rounds import ours
from saddlepoint.bench.suite import machine

NETS = Path(__file__).parent.parent / "tests" / "reference" / "cases"
PARTS = {  # by file and function
    "forward": ("models/torch.py", "logits"),
    "backward": ("autograd/graph.py", "_engine_run_backward"),
    "judging": ("core/game.py", "_judge"),
    "letting rows go": ("core/table.py", "settle"),
    "projecting": ("threats/ball.py", "project"),
}


def shares(case: Case) -> dict[str, float]:
    """Of the time of one run, by part; what is left is the attack's own."""
    played, play = match(case.net, case.n, NETS), ours(case)
    play(copy.deepcopy(played.net), played.x, played.y, 0)
    profile, net = cProfile.Profile(), copy.deepcopy(played.net)
    profile.runcall(play, net, played.x, played.y, 0)
    stats: Any = pstats.Stats(profile)
    found = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), (_, _, _, seconds, _) in stats.stats.items():
        for part, (where, what) in PARTS.items():
            if function == what and file.endswith(where):
                found[part] += seconds / stats.total_tt
    if not found["forward"]:
        raise RuntimeError(f"{PARTS['forward']} was not called in {case.name}: what is it named now?")
    return {part: round(share, 3) for part, share in found.items()} | {"other": round(1 - sum(found.values()), 3)}


def main(path: str) -> None:
    """Measure, print, and write down."""
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "command": "python benchmarks/profiles.py benchmarks/profiles.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "machine": machine(),
        "rows": {},
    }
    for name, case in CASES.items():
        report["rows"][name] = found = {"network": case.net, "images": case.n} | shares(case)
        print(name, found, flush=True)
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
