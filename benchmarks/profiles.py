"""Where an attack's time goes: the network, the game around it, and the attack's own arithmetic.

    python benchmarks/profiles.py benchmarks/profiles.json

Shares of one thread's time under Python's profiler, which makes everything but the network look slower than it is.
"""

import cProfile
import json
import pstats
import sys
from pathlib import Path
from typing import Any

import torch

import saddlepoint as sp
from saddlepoint.bench.nets import match
from saddlepoint.bench.suite import machine

CASES = Path(__file__).parent.parent / "tests" / "reference" / "cases"
ATTACKS: dict[str, tuple[sp.Attack, str]] = {
    "PGD": (sp.attacks.PGD(steps=40), "linf:{eps:g}"),
    "APGD": (sp.attacks.APGD(), "linf:{eps:g}"),
    "DDN": (sp.attacks.DDN(), "l2"),
    "FMN": (sp.attacks.FMN(), "l2"),
    "DeepFool": (sp.attacks.DeepFool(), "l2"),
    "JSMA": (sp.attacks.JSMA(others="sum", weighted=False, reuse=1), "l0"),
    "Square": (sp.attacks.Square(steps=1000), "linf:{eps:g}"),
}
NETS = {"digits": ((10, 200), 0.1), "residual": ((50,), 0.03)}  # how many images, and the radius
PARTS = {  # by file and function
    "forward": ("models/torch.py", "logits"),
    "backward": ("autograd/graph.py", "_engine_run_backward"),
    "judging": ("core/game.py", "_judge"),
    "letting rows go": ("core/game.py", "_settle"),
    "projecting": ("threats/ball.py", "project"),
}


def shares(net: str, n: int, eps: float, name: str) -> dict[str, float]:
    """Of the time of one run, by part; what is left is the attack's own."""
    case, (attack, threat) = match(net, n, CASES), ATTACKS[name]
    model = sp.TorchModel(case.net)

    def play() -> None:
        sp.attack(model, case.x, case.y, threat.format(eps=eps), attack)

    play()
    profile = cProfile.Profile()
    profile.runcall(play)
    stats: Any = pstats.Stats(profile)
    found = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), (_, _, _, seconds, _) in stats.stats.items():
        for part, (where, what) in PARTS.items():
            if function == what and file.endswith(where):
                found[part] += seconds / stats.total_tt
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
    for net, (sizes, eps) in NETS.items():
        for n in sizes:
            for name in ATTACKS:
                report["rows"][f"{name} / {net} / {n}"] = found = shares(net, n, eps, name)
                print(name, net, n, found, flush=True)
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
