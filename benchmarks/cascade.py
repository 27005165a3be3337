"""Robust accuracy beside AutoAttack's, and what either costs, on nets that are robust in different ways.

    python benchmarks/cascade.py benchmarks/cascade.json [--only AutoAttack] [--only Express] [NET ...]

The first 500 test images of each net (benchmarks/cascade_nets.py trained them), in Linf and L2: AutoAttack in its standard
version with one seed, Express with three. Written down after each measurement, and what is written down already with
the same settings is not measured again. Passes are counted by the game: all of a run divided by the 500 images, and those
of the rows that stand to the end.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

import cascade_nets
import saddlepoint as sp
from saddlepoint.core.config import to_config
from saddlepoint.core.registry import registry
from saddlepoint.core.result import ROBUST
from saddlepoint.data import load
from saddlepoint.models.zoo import SmallCNN

REFERENCE = Path(__file__).parent.parent / "tests" / "reference" / "cases" / "fashion-robust.safetensors"
IMAGES = 500
SEEDS = {"AutoAttack": 1, "Express": 3}
THREATS = {
    "fashion-trades": ("linf:0.1", "l2:1"),
    "fashion-l2": ("linf:0.1", "l2:1.5"),
    "mnist-noise": ("linf:0.1", "l2:1.5"),
    "mnist-l2": ("linf:0.1", "l2:1.5"),
    "fashion-noise": ("linf:0.05", "l2:0.75"),
    "fashion-trades-l2": ("linf:0.1", "l2:1.5"),
    "fashion-slope": ("linf:0.05", "l2:0.75"),
    "mnist-pgd": ("linf:0.2", "l2:2"),
    "fashion-robust": ("linf:0.1", "l2:1.5"),
    "fashion-fgsm": ("linf:0.1", "l2:1"),
}


def net_of(name: str) -> nn.Module:
    """A committed net."""
    if name == "fashion-robust":
        net: nn.Module = SmallCNN()
        net.load_state_dict({k: v for k, v in load_file(REFERENCE).items() if not k.startswith("case.")})
    else:
        net = cascade_nets.MAKE[name][0]()
        net.load_state_dict(load_file(cascade_nets.NETS / f"{name}.safetensors"))
    return net.eval()


def measure(name: str, threat: str, attack: sp.Attack, seed: int) -> dict[str, Any]:
    """Who stands, and what it cost."""
    x, y = load("fashion-mnist" if name.startswith("fashion") else "mnist-5k").batch(range(IMAGES))
    started = time.process_time()
    result = sp.attack(net_of(name), x, y, threat, attack, seed=seed)
    seconds, stands = time.process_time() - started, result.rows(*ROBUST)
    return {
        "robust": int(stands.sum()),
        "clean": int((result.clean == y).sum()),
        "forwards": round(result.forwards / IMAGES, 1),
        "backwards": round(result.backwards / IMAGES, 1),
        "of_a_standing_row": [round(float(c[stands].float().mean()), 1) for c in (result.queries, result.gradients)],
        "seconds": round(seconds, 1),
        "standing": stands.nonzero().flatten().tolist(),
    }


def compared(rows: dict[str, Any]) -> dict[str, Any]:
    """Who stands against one and not against the other, by the number of the test image, seed by seed."""
    if set(SEEDS) - set(rows):
        return {}
    bar = set(rows["AutoAttack"]["0"]["standing"])
    return {
        seed: {"broken_by_AutoAttack_only": sorted(set(run["standing"]) - bar),
               "broken_by_Express_only": sorted(bar - set(run["standing"]))}
        for seed, run in rows["Express"].items() if seed != "attack"
    }  # fmt: skip


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", choices=SEEDS, help="all by default")
    parser.add_argument("nets", nargs="*", choices=[*THREATS, []])
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    for name in options.nets or THREATS:
        if name != "fashion-robust" and not (cascade_nets.NETS / f"{name}.safetensors").exists():
            print(f"{name}: there is no such file; make it with python benchmarks/cascade_nets.py {name}")
            continue
        for threat in THREATS[name]:
            for label in options.only or SEEDS:
                attack = registry("attack").classes[label]()
                for seed in range(SEEDS[label]):
                    done = json.loads(options.out.read_text())["nets"] if options.out.exists() else {}
                    rows = done.get(name, {}).get(threat, {})
                    known = rows.get(label, {}) if rows.get("images") == IMAGES else {}
                    if known.get("attack") == to_config(attack) and str(seed) in known:
                        continue
                    run = measure(name, threat, attack, seed)
                    print(name, threat, label, seed, {k: v for k, v in run.items() if k != "standing"}, flush=True)
                    save(options.out, name, threat, label, attack, seed, run)


def save(out: Path, name: str, threat: str, label: str, attack: sp.Attack, seed: int, run: dict[str, Any]) -> None:
    """Put one run into the report; runs with other settings or on other images leave."""
    done = json.loads(out.read_text())["nets"] if out.exists() else {}
    rows = done.setdefault(name, {}).setdefault(threat, {})
    if rows.get("images") != IMAGES:
        rows.clear()
        rows["images"] = IMAGES
    if rows.get(label, {}).get("attack") != to_config(attack):
        rows[label] = {"attack": to_config(attack)}
    rows[label][str(seed)] = run
    rows["disagreements"] = compared({k: v for k, v in rows.items() if k in SEEDS})
    report = {
        "command": "python benchmarks/cascade.py benchmarks/cascade.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "nets": {k: done[k] for k in THREATS if k in done},
    }
    out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
