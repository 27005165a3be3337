"""Imitate a network that gives labels alone, and attack it by way of the imitation, as Papernot et al. (2017) did.

    python benchmarks/substitute.py benchmarks/substitute.json

The oracle is the small network of the library, trained on the 4000 training digits of mnist-5k. The seeds are 150 of its
1000 test digits; what is measured is how many of the other 850 the oracle gets wrong once they are crafted, by FGSM, on the
substitute, a perceptron of two hidden layers of 200. Beside it: the same on the oracle itself, and noise of the same size.
"""

import json
import sys
import time
from typing import Any

import torch

import saddlepoint as sp
from saddlepoint.attacks.transfer.substitute import Substitute
from saddlepoint.core.config import to_config
from saddlepoint.data import load, picked
from saddlepoint.models.train import seeded
from saddlepoint.models.zoo import SmallCNN

RADII = (0.1, 0.2, 0.25, 0.3, 0.4)
METHODS = {
    "Jacobian augmentation": Substitute(),
    "alternating sign": Substitute(period=3),
    "alternating sign and reservoir": Substitute(period=3, rounds=11, warmup=3, reservoir=400),
}
PUBLISHED = {
    "misclassified": 84.24,
    "queries": 6400,
    "oracle": "a network behind the API of MetaMind, trained by it on MNIST",
    "attack": "FGSM; eps 0.3 from memory",
    "source": "abstract of arXiv:1602.02697v1",
}
DIFFERENCES = (
    "The oracle is a small network trained here on 4000 digits, not a service trained on many more.",
    "Measured on 850 digits that neither the oracle nor the substitute has seen.",
    "4800 queries: 150 seeds doubled five times; 4000 with the reservoir. The published 6400 are more.",
    "The substitute is a perceptron trained by Adam with a cycle, not one of the paper's networks.",
    "Digits are moved away from the substitute's answer; all 850 count, also those that are wrong when clean.",
)


def answers(model: Any, x: torch.Tensor) -> torch.Tensor:
    with model.session(), torch.no_grad():
        return torch.cat([model.labels(part) for part in x.split(250)])


def crafted(model: Any, x: torch.Tensor, eps: float) -> torch.Tensor:
    """FGSM away from the model's own answers."""
    return sp.attack(model, x, answers(model, x), sp.Linf(eps), "FGSM", stop=sp.Stop.NEVER).x_adv


def main(out: str) -> None:
    torch.set_num_threads(1)
    train, test = load("mnist-5k", "train"), load("mnist-5k", "test")
    oracle = sp.Trainer(epochs=8).fit(seeded(SmallCNN, 0), train)
    only = sp.CallableModel(lambda z: answers(oracle, torch.from_numpy(z)).numpy(), returns="labels")
    seeds = picked(test, 150, 0)
    rest = torch.arange(len(test))[~torch.isin(torch.arange(len(test)), seeds)]
    x, y = test.batch(rest)

    def wrong(x_adv: torch.Tensor) -> float:
        return round(100 * float((answers(oracle, x_adv) != y).float().mean()), 2)

    noise = torch.Generator().manual_seed(0)
    rows: dict[str, Any] = {
        "clean": {"misclassified": wrong(x)},
        "noise of random sign": {
            str(eps): wrong((x + eps * (torch.rand(x.shape, generator=noise) - 0.5).sign()).clamp(0, 1)) for eps in RADII
        },
        "FGSM on the oracle itself": {str(eps): wrong(crafted(oracle, x, eps)) for eps in RADII},
    }
    for name, method in METHODS.items():
        started = time.process_time()
        found = method.fit(only, test.batch(seeds)[0], classes=10)
        rows[name] = {
            "substitute": to_config(method),
            "queries": found.queries,
            "agreement": round(100 * float((answers(found.model, x) == answers(oracle, x)).float().mean()), 2),
            "seconds": round(time.process_time() - started, 1),
            "misclassified": {str(eps): wrong(crafted(found.model, x, eps)) for eps in RADII},
        }
        print(name, rows[name], flush=True)
    data = {
        "command": "python benchmarks/substitute.py benchmarks/substitute.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "n": len(x),
        "seeds": len(seeds),
        "published": PUBLISHED,
        "differences": DIFFERENCES,
        "rows": rows,
    }
    with open(out, "w") as file:
        file.write(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
