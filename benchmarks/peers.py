"""Measure public attack libraries on three fixed cases, so that their numbers can be cited and checked.

    python benchmarks/peers.py tests/reference/cases tests/reference/peers.json [--case NAME] [--limit SECONDS] [ROW ...]

Needs torch, numpy, safetensors and the libraries themselves (`make peers` installs them), and nothing else of this
project. Every row of peer_rows.py gives all libraries the same budget. What a library returns is judged again by this
script: clipped to [0, 1], measured and classified in float32. A row is saved as soon as it is done. Rows named on the
command line are run alone, in that order, a name being that of a row, or of an attack for all of its rows.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import random
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from peer_rows import CASES, CLASSES, NOTES, SEED, Call, Row, inf, table

COMMAND = "python benchmarks/peers.py tests/reference/cases tests/reference/peers.json"
PACKAGES = (
    "foolbox", "torchattacks", "adversarial-robustness-toolbox", "adv-lib", "torch", "torchvision", "numpy", "scipy", "numba"
)  # fmt: skip


class SmallCNN(nn.Module):
    """The network of the case: three convolutions and two linear layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(2 * width * 49, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Counted(nn.Module):
    """The network as the libraries see it: counts the rows it classifies and computes in float32, on one channel."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.net(x.float().mean(1, keepdim=True) if x.shape[1] == 3 else x.float())


def with_torchvision() -> None:
    """Import torchvision; where its compiled part does not fit this torch, declare the two operators it misses."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        with_torchvision.library = library  # the declarations last as long as this object
        importlib.import_module("torchvision")


def run_foolbox(foolbox: Any, net: nn.Module, x: Tensor, y: Tensor, _: str, spec: Call) -> Tensor:
    parameters = dict(spec.parameters)
    epsilons = parameters.pop("epsilons", None)
    attack = getattr(foolbox.attacks, spec.attack)(**parameters)
    return attack(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), x, y, epsilons=epsilons)[1]


def run_torchattacks(torchattacks: Any, net: nn.Module, x: Tensor, y: Tensor, goal: str, spec: Call) -> Tensor:
    attack = getattr(torchattacks, spec.attack)(net, **spec.parameters)
    if goal == "targeted":
        attack.set_mode_targeted_by_function(lambda _, labels: (labels + 1) % CLASSES, quiet=True)
    return attack(x, y)


def run_art(evasion: Any, net: nn.Module, x: Tensor, y: Tensor, goal: str, spec: Call) -> Tensor:
    classification = importlib.import_module("art.estimators.classification")
    classifier = classification.PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), CLASSES, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = getattr(evasion, spec.attack)(classifier, **spec.parameters)
    if "verbose" in attack.attack_params:
        attack.set_params(verbose=False)
    labels = nn.functional.one_hot((y + 1) % CLASSES if goal == "targeted" else y, CLASSES).numpy()
    return torch.from_numpy(attack.generate(x.numpy(), None if goal == "unlabelled" else labels))


def run_adv_lib(attacks: Any, net: nn.Module, x: Tensor, y: Tensor, _: str, spec: Call) -> Tensor:
    return getattr(attacks, spec.attack)(net, x, y, **spec.parameters)


LIBRARIES: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "foolbox": ("foolbox", run_foolbox),
    "torchattacks": ("torchattacks", run_torchattacks),
    "art": ("art.attacks.evasion", run_art),
    "adv-lib": ("adv_lib.attacks", run_adv_lib),
}


def load(library: str) -> Callable[..., Tensor]:
    """Import a library and return what runs an attack of it."""
    module, run = LIBRARIES[library]
    if library in ("torchattacks", "adv-lib"):
        with_torchvision()
        sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # imported for plots that nobody asked for
    return partial(run, importlib.import_module(module))


class OutOfTimeError(BaseException):
    """Raised by the clock; not an Exception, so that no library can swallow it."""


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block after so many seconds of CPU time."""

    def ring(*_: object) -> None:
        raise OutOfTimeError(f"stopped after {seconds:g} s of CPU time")

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def distances(delta: Tensor, norm: float) -> Tensor:
    """The norm of each row."""
    return delta.flatten(1).norm(p=norm, dim=1)


@torch.no_grad()
def judge(net: nn.Module, row: Row, x: Tensor, y: Tensor, found: Tensor) -> dict[str, float | None]:
    """Success rate and lower median distance, a failure being infinitely far, whatever the library says of itself."""
    found = found.detach().float()
    finite = found.flatten(1).isfinite().all(1)
    found = found.nan_to_num().clamp(0, 1)
    classes = net(found).argmax(1)
    success = finite & (classes == (y + 1) % CLASSES if row.goal == "targeted" else classes != y)
    if row.norm is None:
        return {"success": success.float().mean().item(), "median": None}
    distance = distances(found - x, row.norm)
    if row.radius is not None:
        success &= distance <= row.radius * (1 + 1e-5) + 1e-6
    median = torch.where(success, distance, inf).quantile(0.5, interpolation="lower").item()
    return {"success": success.float().mean().item(), "median": median if median < inf else None}


def attacked(spec: Call, run: Callable[..., Tensor], net: nn.Module, x: Tensor, y: Tensor, goal: str) -> Tensor:
    """What the library returns for the images it is given at a time, on one channel."""
    found = run(net, x.expand(-1, 3, -1, -1).contiguous() if spec.color else x, y, goal, spec)
    return found.mean(1, keepdim=True) if spec.color else found


def measure(net: nn.Module, row: Row, x: Tensor, y: Tensor, library: str, limit: float) -> dict[str, Any]:
    """Run one library on one row; whatever it raises is its result."""
    spec = row.calls[library]
    counted = Counted(net).eval()
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the libraries draw from the global generator
    torch.manual_seed(SEED)
    try:
        run = load(library.split(" ")[0])
        with cpu_limit(limit):
            start = time.process_time()
            parts = torch.arange(row.n).split(spec.batch or row.n)
            found = torch.cat([attacked(spec, run, counted, x[part], y[part], row.goal) for part in parts])
            seconds = time.process_time() - start
    except (Exception, OutOfTimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        name = "" if isinstance(error, OutOfTimeError) else f"{type(error).__name__}: "
        return {"error": name + reason, "parameters": str(spec)}
    cost = {"forwards": round(counted.rows / row.n, 2), "seconds": round(seconds, 3)}
    verdict = {k: v if v is None else round(v, 6) for k, v in judge(net, row, x, y, found).items()}
    return verdict | cost | {"parameters": str(spec)}


def load_case(path: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, the images and the labels of a case."""
    weights = load_file(path)
    images, labels = weights.pop("case.x").float() / 255, weights.pop("case.y")
    net = SmallCNN().eval()
    net.load_state_dict(weights)
    logits = net(images)
    nn.functional.cross_entropy(logits, labels).backward()  # a first pass, so that nobody pays for it
    net.zero_grad()
    if not (logits.argmax(1) == labels).all():
        raise SystemExit(f"{path} holds examples that the network misclassifies")
    return net, images, labels


def chosen(name: str, wanted: list[str]) -> list[str]:
    """The keys of a case's rows that are wanted, all by default."""
    rows = table(name)
    return [key for want in wanted for key in rows if want in (key, key.split()[0])] if wanted else list(rows)


def save(path: Path, case: str, key: str, entry: dict[str, Any]) -> None:
    """Put one row into the report; the others stay as they are."""
    cases = json.loads(path.read_text())["cases"] if path.exists() else {}
    cases.setdefault(case, {"rows": {}})["rows"][key] = entry
    report = {
        "machine-independent": ["success", "median", "forwards"],
        "command": COMMAND,
        "notes": NOTES,
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES if list(importlib.metadata.distributions(name=p))},
        "cases": {
            name: {"rows": {k: cases[name]["rows"][k] for k in table(name) if k in cases[name]["rows"]}}
            for name in CASES
            if name in cases
        },
    }
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Measure the named rows, or all, and save each in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=Path, help="folder of NAME.safetensors")
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", action="append", choices=CASES, help="all by default")
    parser.add_argument("--limit", type=float, default=200.0, help="seconds of CPU time for one library on one row")
    parser.add_argument("rows", nargs="*")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    names = options.case or list(CASES)
    if unknown := [row for row in options.rows if not any(chosen(name, [row]) for name in names)]:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are: {', '.join(table(names[0]))}")
    for name in names:
        net, images, labels = load_case(options.cases / f"{name}.safetensors")
        for key in chosen(name, options.rows):
            row = table(name)[key]
            results = {}
            for library in sorted(row.calls):
                results[library] = measure(net, row, images[: row.n], labels[: row.n], library, options.limit)
                print(name, key, library, results[library], flush=True)
            entry = {"n": row.n, "radius": row.radius, "budget": row.budget, "libraries": results}
            save(options.out, name, key, entry)


if __name__ == "__main__":
    main()
