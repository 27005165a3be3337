"""Whether L-BFGS over a batch is as strong as SciPy's L-BFGS-B called for one example after the other.

python benchmarks/lbfgs_scipy.py benchmarks/lbfgs.json [NET ...]

Both minimize c |r|^2 + loss(x + r) in the box and search for the largest c that wins in the same way. Every point that
either asks about counts. SciPy gets double precision, its own stopping rule, and every search begins at x, as in the paper.
"""

import importlib.metadata
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize
from torch import Tensor

import saddlepoint as sp
from saddlepoint.core.goal import Goal
from saddlepoint.models.zoo import SmallCNN

N, SEARCHES = 50, 10
CASES = Path(__file__).parent.parent / "tests" / "reference" / "cases"
COMMAND = "python benchmarks/lbfgs_scipy.py benchmarks/lbfgs.json"
PACKAGES = ("saddlepoint", "torch", "scipy")


class Reference:
    """One example: evaluations in double precision, counted, and the nearest win among them."""

    def __init__(self, net: torch.nn.Module, x: Tensor, goal: Goal) -> None:
        self.net, self.x, self.goal = net, x.double(), goal
        self.nearest, self.evaluations, self.won = math.inf, 0, False

    def ask(self, r: np.ndarray[Any, Any], c: float) -> tuple[float, np.ndarray[Any, Any]]:
        """J and its gradient."""
        delta = torch.from_numpy(r.copy()).view_as(self.x).requires_grad_()
        logits = self.net(self.x + delta)
        loss = self.goal.cross_entropy(logits).sum() + c * delta.square().sum()
        (gradient,) = torch.autograd.grad(loss, delta)
        self.evaluations += 1
        self.won = bool(self.goal.margin(logits).item() < 0)
        if self.won:
            self.nearest = min(self.nearest, float(np.linalg.norm(r)))
        return loss.item(), gradient.flatten().numpy()

    def search(self) -> None:
        """Multiply or divide c by ten until one wins and another does not, then bisect its logarithm."""
        still = np.zeros(self.x.numel())
        box = list(zip((-self.x).flatten().tolist(), (1 - self.x).flatten().tolist(), strict=True))
        value, slope = self.ask(still, 0.0)
        c, wins, fails = float(slope @ slope) / (2 * max(abs(value), 1)), 0.0, math.inf
        for _ in range(SEARCHES):
            found = minimize(self.ask, still, (c,), "L-BFGS-B", jac=True, bounds=box, options={"maxiter": 1000})
            self.ask(found.x, c)
            wins, fails = (max(wins, c), fails) if self.won else (wins, min(fails, c))
            c = math.sqrt(wins * fails) if wins > 0 and fails < math.inf else c * 10 if wins > 0 else c / 10


def goals(y: Tensor) -> dict[str, Goal]:
    """Both goals."""
    return {"untargeted": sp.Untargeted(y), "targeted": sp.Targeted((y + 1) % 10)}


def by_scipy(net: torch.nn.Module, x: Tensor, goal: Goal) -> dict[str, float]:
    """One example after the other."""
    net.double()
    rows = [Reference(net, x[i : i + 1], goal.select(slice(i, i + 1))) for i in range(len(x))]
    for row in rows:
        row.search()
    net.float()
    return summary(torch.tensor([row.nearest for row in rows]), sum(row.evaluations for row in rows) / len(x))


def ours(net: torch.nn.Module, x: Tensor, goal: Goal) -> dict[str, float]:
    """All examples at once."""
    result = sp.attack(sp.TorchModel(net), x, goal, "l2", sp.attacks.LBFGS(searches=SEARCHES))
    return summary(result.size, result.forwards / len(x))


def summary(size: Tensor, forwards: float) -> dict[str, float]:
    """Success rate and lower median, a failure being infinitely far."""
    median = size.quantile(0.5, interpolation="lower").item()
    success = size.isfinite().float().mean().item()
    return {"success": success, "median": round(median, 5), "forwards": round(forwards, 1)}


def main(out: str, *names: str) -> None:
    """Measure both, for both goals, on the nets named or all; one net's figures are written as soon as they are there."""
    torch.set_num_threads(1)
    path = Path(out)
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for name in names or ("digits", "fashion", "fashion-robust"):
        weights = load_file(CASES / f"{name}.safetensors")
        x, y = weights.pop("case.x")[:N].float() / 255, weights.pop("case.y")[:N]
        net = SmallCNN().eval()
        net.load_state_dict(weights)
        rows[name] = {what: {"LBFGS": ours(net, x, g), "scipy": by_scipy(net, x, g)} for what, g in goals(y).items()}
        print(name, rows[name], flush=True)
        versions = {p: importlib.metadata.version(p) for p in PACKAGES}
        path.write_text(json.dumps({"command": COMMAND, "n": N, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
