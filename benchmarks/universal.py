"""Universal perturbations beside ART's: fooling rate, on the inputs learned on and on others, and CPU time.

    python benchmarks/universal.py benchmarks/universal.json .venv-peers/bin/python

Both learn on the 200 digits of the reference case and its net, one thread each; what they return is clipped to the box
and judged here. ART runs in the interpreter that has it (`make peers` makes one), on settings of the paper: DeepFool of ten
steps and overshoot 0.02, ten passes at most, until 80 % are fooled. Seconds are the machine's, and so is their ratio.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HERE = Path(__file__).parent
CASE = HERE.parent / "tests" / "reference" / "cases" / "digits.safetensors"
RADII, SEED = (0.1, 0.2), 0


def art(out: str) -> None:
    """Learn with ART, in an interpreter that has it and this project."""
    import random
    from importlib.metadata import version

    import numpy as np
    from art.attacks.evasion import UniversalPerturbation
    from art.estimators.classification import PyTorchClassifier

    from saddlepoint.bench.rounds import Counted
    from saddlepoint.models.zoo import SmallCNN

    torch.set_num_threads(1)
    weights = load_file(CASE)
    x = weights.pop("case.x").float() / 255
    weights.pop("case.y")
    net = SmallCNN().eval()
    net.load_state_dict(weights)
    counted = Counted(net).eval()
    classifier = PyTorchClassifier(
        counted, torch.nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    deepfool = {"max_iter": 10, "epsilon": 0.02, "nb_grads": 10, "verbose": False}
    found, costs = {}, {"version": version("adversarial-robustness-toolbox")}
    for eps in RADII:
        random.seed(SEED)
        np.random.seed(SEED)  # noqa: NPY002 - the library draws from the global generator
        attack = UniversalPerturbation(
            classifier, attacker="deepfool", attacker_params=deepfool, delta=0.2, max_iter=10, eps=eps, norm=np.inf,
            batch_size=1, verbose=False,
        )  # fmt: skip
        counted.forwards, started = 0, time.process_time()
        attack.generate(x.numpy())
        costs[str(eps)] = {"seconds": time.process_time() - started, "forwards": counted.forwards / len(x)}
        found[str(eps)] = torch.from_numpy(np.asarray(attack.noise, dtype=np.float32).reshape(x.shape[1:]))
    save_file(found, out, {"costs": json.dumps(costs)})


def main(path: str, python: str) -> None:
    """Measure both, print, and write down."""
    import saddlepoint as sp
    from saddlepoint.core.config import to_config
    from saddlepoint.data import load
    from saddlepoint.models.zoo import SmallCNN

    torch.set_num_threads(1)
    weights = load_file(CASE)
    x, y = weights.pop("case.x").float() / 255, weights.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(weights)
    model, (others, _) = sp.TorchModel(net), load("mnist-5k").batch(range(1000))
    others = others[~torch.stack([(others == row).flatten(1).all(1) for row in x]).any(0)]  # the net was not trained on them

    def fooled(delta: Tensor) -> dict[str, float]:
        """On the inputs learned on, and on the others."""
        with model.session(), torch.no_grad():
            rates = [(model.labels((z + delta).clamp(0, 1)) != model.labels(z)).float().mean() for z in (x, others)]
        return {"fooled": round(float(rates[0]), 4), "fooled_others": round(float(rates[1]), 4)}

    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "art.safetensors")
        subprocess.run([python, __file__, "--art", out], check=True, cwd=HERE)
        from safetensors import safe_open

        with safe_open(out, framework="pt") as file:
            costs = json.loads(file.metadata()["costs"])
            theirs = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    methods = {
        "UniversalPGD": sp.attacks.UniversalPGD(),
        "UniversalPGD until 80 %": sp.attacks.UniversalPGD(fooling_rate=0.8),
        "UAP": sp.attacks.UAP(),
    }
    rows: dict[str, Any] = {}
    for eps in RADII:
        cost = costs[str(eps)]
        peer = fooled(theirs[str(eps)]) | {"seconds": round(cost["seconds"], 2), "forwards": round(cost["forwards"], 1)}
        row: dict[str, Any] = {"ART UniversalPerturbation(deepfool)": peer}
        for name, method in methods.items():
            started = time.process_time()
            learned = sp.fit(model, x, y, sp.Linf(eps), method, seed=SEED).learned
            seconds = time.process_time() - started
            row[name] = fooled(learned.delta) | {
                "seconds": round(seconds, 2),
                "forwards": round(learned.forwards / len(x), 1),
                "backwards": round(learned.backwards / len(x), 1),
                "times_faster": round(cost["seconds"] / seconds, 1),
                "attack": to_config(method),
            }
        rows[f"linf:{eps}"] = row
        for name, found in row.items():
            print(f"linf:{eps}", name, {k: v for k, v in found.items() if k != "attack"}, flush=True)
    versions = {
        "saddlepoint": sp.__version__,
        "torch": torch.__version__,
        "adversarial-robustness-toolbox": costs["version"],
    }
    report = {
        "command": "python benchmarks/universal.py benchmarks/universal.json .venv-peers/bin/python",
        "versions": versions,
        "n": len(x),
        "n_others": len(others),
        "rows": rows,
    }
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    art(sys.argv[2]) if sys.argv[1] == "--art" else main(*sys.argv[1:])
