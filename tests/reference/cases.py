"""The attacks of this library on the case that the public libraries were measured on (see benchmarks/peers.py).

python tests/reference/cases.py tests/reference/ours.json
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import saddlepoint as sp
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.models.zoo import SmallCNN

HERE = Path(__file__).parent
A = sp.attacks

# row of peers.json -> our attack, threat, and number of examples; steps as the peers had
ROWS: dict[str, tuple[Attack, str, int]] = {
    "FGSM linf:0.1": (A.FGSM(), "linf:0.1", 200),
    "BIM linf:0.1": (A.BIM(steps=32), "linf:0.1", 200),
    "PGD linf:0.1": (A.PGD(step_size=0.00625), "linf:0.1", 200),
    "PGD l2:1.5": (A.PGD(), "l2:1.5", 200),
    "APGD-CE linf:0.1": (A.APGD(), "linf:0.1", 200),
    "APGD-DLR l2:1.5": (A.APGD(loss="dlr"), "l2:1.5", 200),
    "APGD-T linf:0.1": (A.APGD(targets=9), "linf:0.1", 200),
    "CarliniWagner l2": (A.CarliniWagner(), "l2", 100),
    "CarliniWagner l2 9x100": (A.CarliniWagner(), "l2", 20),
    "DeepFool l2": (A.DeepFool(), "l2", 200),
    "DeepFool linf": (A.DeepFool(), "linf", 200),
    "JSMA l0": (A.JSMA(), "l0", 50),
    "JSMA untargeted l0": (A.JSMA(), "l0", 50),
    "DDN l2": (A.DDN(), "l2", 200),
    "Square linf:0.1": (A.Square(steps=1000), "linf:0.1", 200),
    "Square l2:1.5": (A.Square(steps=1000), "l2:1.5", 200),
    "HopSkipJump l2": (A.HopSkipJump(steps=20), "l2", 20),
    "HopSkipJump linf": (A.HopSkipJump(steps=20), "linf", 20),
    "OnePixel l0:1": (A.OnePixel(generations=75), "l0:1", 20),
    "OnePixel l0:3": (A.OnePixel(generations=75), "l0:3", 20),
    # Two more that have no peer: the whole is no weaker than its parts.
    "Restarts linf:0.1": (A.Restarts(attack=A.PGD(step_size=0.00625), restarts=3), "linf:0.1", 200),
    "Cascade linf:0.1": (A.Cascade(attacks=(A.APGD(), A.APGD(targets=9), A.Square(steps=200))), "linf:0.1", 200),
}


def case() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The committed net and its 200 digits, all classified right."""
    tensors = load_file(HERE / "case.safetensors")
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(tensors)
    return net, x, y


def measure(row: str) -> dict[str, Any]:
    """Success rate, median size and passes of one row."""
    attack, threat, n = ROWS[row]
    net, x, y = case()
    goal = sp.Targeted((y[:n] + 1) % 10) if row == "JSMA l0" else sp.Untargeted(y[:n])
    started = time.process_time()
    result = sp.attack(sp.TorchModel(net), x[:n], goal, threat, attack)
    seconds = time.process_time() - started
    median = result.median_size
    return {
        "n": n,
        "success": result.success_rate.value,
        "median": round(median, 5) if median < float("inf") else None,
        "forwards": round(result.forwards / n, 1),
        "backwards": round(result.backwards / n, 1),
        "seconds": round(seconds, 2),
        "attack": to_config(attack),
    }


def peers() -> dict[str, Any]:
    """What the public libraries reached."""
    return json.loads((HERE / "peers.json").read_text())["rows"]


def best(row: str) -> tuple[float, float]:
    """Highest success rate and smallest median of any library."""
    found = [entry for entry in peers()[row]["libraries"].values() if "success" in entry]
    medians = [entry["median"] for entry in found if entry["median"] is not None]
    return max(entry["success"] for entry in found), min(medians, default=float("inf"))


def main(path: str, *rows: str) -> None:
    """Measure rows, all by default, and write them beside what was there."""
    torch.set_num_threads(1)
    out = Path(path)
    found = json.loads(out.read_text())["rows"] if rows and out.exists() else {}
    for row in rows or ROWS:
        found[row] = measure(row)
        bar = best(row) if row in peers() else ("-", "-")
        ours = {k: v for k, v in found[row].items() if k != "attack"}
        print(row, ours, "best peer", *bar, flush=True)
        versions = {"saddlepoint": sp.__version__, "torch": torch.__version__}
        command = "python tests/reference/cases.py tests/reference/ours.json"
        out.write_text(json.dumps({"command": command, "versions": versions, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
