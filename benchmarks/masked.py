"""What the audit says of the two networks of masked_peers.py, told nothing about them.

python benchmarks/masked.py tests/reference/cases/digits.safetensors benchmarks/masked.json
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

import saddlepoint as sp
from saddlepoint.models.zoo import SmallCNN

EPS, N = 0.2, 100


class Scaled(torch.nn.Module):
    """Logits times 100."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 100 * self.net(x)


class Probable(Scaled):
    """Probabilities where libraries expect logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (20 * self.net(x)).softmax(1)


def main(path: str, out: str) -> None:
    """Both networks."""
    torch.set_num_threads(1)
    tensors = load_file(path)
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(tensors)
    table = json.loads(Path(out).read_text()) if Path(out).exists() else {"threat": f"linf:{EPS}", "n": N, "models": {}}
    for name, model in {"100 * logits": Scaled(net.eval()), "softmax(20 * logits)": Probable(net.eval())}.items():
        with tempfile.TemporaryDirectory() as folder:
            run = sp.audit(model, (x[:N], y[:N]), f"linf:{EPS}", limit=None, out=folder)
            subject = run.result()["subjects"][0]
        table["models"].setdefault(name, {})["saddlepoint audit"] = {
            "robust accuracy": subject["robust"]["high"]["value"] if subject["robust"] else None,
            "verdict": subject["verdict"],
            "before": subject["before"],
        }
        print(name, subject["verdict"]["sentence"])
    Path(out).write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
