"""What public libraries say of two networks without any robustness, whose outputs saturate.

    python benchmarks/masked_peers.py tests/reference/cases/digits.safetensors benchmarks/masked.json
    python benchmarks/masked.py tests/reference/cases/digits.safetensors benchmarks/masked.json

The network is a plain one for digits. Once its logits are multiplied by 100, once it returns softmax(20 * logits). Each
library plays PGD of 40 steps with a random start at linf 0.2, and AutoAttack where it has one. What it
returns is judged by this script. Needs the environment of `make peers`, and pyautoattack.
"""

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from saddlepoint.bench.libraries import with_torchvision
from saddlepoint.models.zoo import SmallCNN

EPS, STEP, STEPS, N = 0.2, 0.0125, 40, 100


def foolbox(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """LinfPGD."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)
    _, clipped, _ = attack(model, x, y, epsilons=EPS)
    return clipped


def torchattacks(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """PGD."""
    import torchattacks

    return torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)(x, y)


def torchattacks_autoattack(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Its own shortened AutoAttack."""
    import torchattacks

    return torchattacks.AutoAttack(net, norm="Linf", eps=EPS, version="standard", n_classes=10, seed=0)(x, y)


def art(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """ProjectedGradientDescent."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    made = PyTorchClassifier(net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0))
    attack = ProjectedGradientDescent(
        made, norm=np.inf, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=len(x), verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def autoattack(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """AutoAttack standard, as the package pyautoattack has it."""
    from pyautoattack import AutoAttack

    made = AutoAttack(net, norm="Linf", eps=EPS, version="standard", seed=0)
    found = made.run_standard_evaluation(x, y)
    return found[0] if isinstance(found, tuple) else found


CALLS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "foolbox LinfPGD": foolbox,
    "torchattacks PGD": torchattacks,
    "ART ProjectedGradientDescent": art,
    "torchattacks AutoAttack": torchattacks_autoattack,
    "pyautoattack AutoAttack": autoattack,
}


def masked(net: nn.Module) -> dict[str, nn.Module]:
    """The network with its outputs changed, by what is done to them."""
    hundredfold, probable = nn.Sequential(net, _Times(100)), nn.Sequential(net, _Times(20), nn.Softmax(1))
    return {"100 * logits": hundredfold, "softmax(20 * logits)": probable}


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def case(path: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The committed network and its images, all classified right."""
    tensors = load_file(path)
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(tensors)
    return net.eval(), x[:N], y[:N].long()


def keep(out: Path, model: str, who: str, row: dict[str, Any]) -> None:
    """Write one row at once."""
    table = json.loads(out.read_text()) if out.exists() else {"threat": f"linf:{EPS}", "n": N, "models": {}}
    table["models"].setdefault(model, {})[who] = row
    out.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


def main(path: str, out: str, *names: str) -> None:
    """Every library, or those named, on both networks."""
    torch.set_num_threads(1)
    with_torchvision()
    net, x, y = case(path)
    for model, shipped in masked(net).items():
        for who, call in CALLS.items():
            if names and who not in names:
                continue
            torch.manual_seed(0)
            said = io.StringIO()
            handler = logging.StreamHandler(said)
            logging.getLogger("auto-attack").addHandler(handler)
            with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(said):
                warnings.simplefilter("always")
                try:
                    x_adv = call(shipped, x.clone(), y.clone()).detach().clamp(0, 1)
                except Exception as error:
                    keep(Path(out), model, who, {"error": f"{type(error).__name__}: {str(error)[:200]}"})
                    continue
            inside = (x_adv - x).abs().flatten(1).amax(1) <= EPS + 1e-6
            with torch.no_grad():
                left = ((net(x_adv).argmax(1) == y) | ~inside).float().mean()
            logging.getLogger("auto-attack").removeHandler(handler)
            lines = [line for line in said.getvalue().splitlines() if "arning" in line or "softmax" in line]
            lines += [str(w.message).splitlines()[0] for w in warned if "softmax" in str(w.message)]
            keep(Path(out), model, who, {"robust accuracy": round(float(left), 4), "warnings": lines[:4]})
            print(model, who, float(left), lines[:4], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
