"""What the audit says of the two networks of masked_peers.py, told nothing about them.

python benchmarks/masked.py tests/reference/cases/digits.safetensors benchmarks/masked.json
"""

import sys
import tempfile
from pathlib import Path

import torch

import saddlepoint as sp
from masked_peers import EPS, case, keep, masked


def main(path: str, out: str) -> None:
    """Both networks."""
    torch.set_num_threads(1)
    net, x, y = case(path)
    for name, model in masked(net).items():
        with tempfile.TemporaryDirectory() as folder:
            run = sp.audit(model, (x, y), f"linf:{EPS}", limit=None, out=folder)
            subject = run.result()["subjects"][0]
        left = subject["robust"]["high"]["value"] if subject["robust"] else None
        row = {"robust accuracy": left, "verdict": subject["verdict"], "before": subject["before"]}
        keep(Path(out), name, "saddlepoint audit", row)
        print(name, subject["verdict"]["sentence"])


if __name__ == "__main__":
    main(*sys.argv[1:])
