"""What the game costs over a loop written by hand: PGD in evaluation, and the inner maximization of training.

    python benchmarks/floor.py benchmarks/floor.json

Both sides do the same passes on the same net and nothing drops out (the radius is too small to fool anything). They are
interleaved, in CPU time of one thread; the figure is the median of the ratios of neighbors. Seconds are the machine's.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import saddlepoint as sp
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import maximize
from saddlepoint.models.zoo import SmallCNN

BATCH, EPS, ROUNDS = 256, 0.002, 15


def by_hand(net: nn.Module, x: Tensor, y: Tensor, steps: int, step_size: float) -> Tensor:
    """The loop everyone writes: sign steps of the cross entropy, clipped to the ball and the box."""
    adversarial = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(steps):
        adversarial.requires_grad_()
        loss = cross_entropy(net(adversarial), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, adversarial)
        moved = adversarial.detach() + step_size * gradient.sign()
        adversarial = torch.min(torch.max(moved, x - EPS), x + EPS).clamp(0, 1)
    return adversarial


def ratio(ours: Callable[[], object], hand: Callable[[], object]) -> dict[str, float]:
    """Median ratio of CPU times of interleaved rounds, after one of each to warm up."""
    ours(), hand()
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        pair = []
        for run in (ours, hand):
            started = time.process_time()
            run()
            pair.append(time.process_time() - started)
        times.append((pair[0], pair[1]))
    found = [a / b for a, b in times]
    return {
        "ratio": round(statistics.median(found), 3),
        "lowest": round(min(found), 3),
        "highest": round(max(found), 3),
        "ours_seconds": round(statistics.median(a for a, _ in times), 3),
        "by_hand_seconds": round(statistics.median(b for _, b in times), 3),
    }


def frozen(net: nn.Module) -> nn.Module:
    """What a careful author does before attacking: no gradients for the weights, evaluation mode."""
    return net.eval().requires_grad_(False)


def main(path: str) -> None:
    """Measure, print, and write down."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = {}
    for name, width in (("SmallCNN(width=16)", 16), ("SmallCNN(width=32)", 32)):
        net = frozen(SmallCNN(width=width))
        x = torch.rand(BATCH, 1, 28, 28)
        with torch.no_grad():
            y = net(x).argmax(1)
        model, threat = sp.TorchModel(net), sp.Linf(EPS)
        evaluation = sp.attacks.PGD(step_size=EPS / 4)
        result = sp.attack(model, x, y, threat, evaluation, batch=BATCH)
        standing = int(result.rows(sp.Outcome.NOT_FOUND).sum())
        rows[f"PGD-40, batch {BATCH}, {name}"] = ratio(
            lambda m=model, x=x, y=y, t=threat, a=evaluation: sp.attack(m, x, y, t, a, batch=BATCH),
            lambda n=net, x=x, y=y: by_hand(n, x, y, 40, EPS / 4),
        ) | {"standing": standing, "forwards": result.forwards / BATCH, "backwards": result.backwards / BATCH}
        inner = sp.attacks.PGD(steps=7, step_size=EPS / 4)

        def maximization(m: sp.TorchModel = model, x: Tensor = x, y: Tensor = y, a: sp.Attack = inner) -> None:
            with m.session():
                maximize(m, x, Untargeted(y), sp.Linf(EPS), a, Noise(0, torch.arange(BATCH)))

        rows[f"inner maximization, 7 steps, batch {BATCH}, {name}"] = ratio(
            maximization, lambda n=net, x=x, y=y: by_hand(n, x, y, 7, EPS / 4)
        )
    for name, row in rows.items():
        print(f"{name}: {row['ratio']} ({row['lowest']} to {row['highest']})")
    out = {
        "command": "python benchmarks/floor.py benchmarks/floor.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rounds": ROUNDS,
        "rows": rows,
    }
    Path(path).write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
