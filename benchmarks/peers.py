"""Measure public attack libraries on one fixed case, so that their numbers can be cited and checked.

    python benchmarks/peers.py tests/reference/case.safetensors tests/reference/peers.json [ROW ...]

Needs torch, numpy, safetensors and the libraries themselves (the extra ``bench``), and nothing else of this project.
Every row gives all libraries the same budget. What a library returns is judged again by this script: clipped to [0, 1],
measured and classified in float32. A row is saved as soon as it is done; rows named on the command line are run alone.
"""

import contextlib
import importlib
import importlib.metadata
import json
import math
import random
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

COMMAND = "python benchmarks/peers.py tests/reference/case.safetensors tests/reference/peers.json"
PACKAGES = ("foolbox", "torchattacks", "adversarial-robustness-toolbox", "adv-lib", "torch", "torchvision", "numpy", "scipy")
SEED = 0
LIMIT = 300.0  # seconds of CPU time for one library on one row
CLASSES = 10
inf = math.inf


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
    """The network as the libraries see it: counts the rows it classifies and computes in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.rows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.net(x.float())


@dataclass(frozen=True)
class Call:
    """One attack of one library: its name there, and every parameter that is not the library's default."""

    attack: str
    parameters: dict[str, Any]
    batch: int | None = None  # examples that the library is given at a time; None: all

    def __str__(self) -> str:
        rendered = f"{self.attack}({', '.join(f'{k}={v!r}' for k, v in self.parameters.items())})"
        return rendered if self.batch is None else f"{rendered}, {self.batch} example(s) at a time"


@dataclass(frozen=True)
class Row:
    """One comparison: the norm, how many examples, the radius (None: as near as possible), and the calls."""

    norm: float
    n: int
    radius: float | None
    budget: str
    calls: dict[str, Call]
    goal: str = "untargeted"  # or "targeted", at the next class; or "unlabelled", without the true labels


def call(attack: str, **parameters: Any) -> Call:
    return Call(attack, parameters)


def art(attack: str, n: int, **parameters: Any) -> Call:
    """A call of ART in one batch; left alone, it takes batches of 1 to 128."""
    return Call(attack, parameters | {"batch_size": n})


def fixed_radius(eps: float, norm: float) -> dict[str, Row]:
    """The gradient attacks in an l-inf or l-2 ball."""
    key = f"{'linf' if norm == inf else 'l2'}:{eps:g}"
    name = "Linf" if norm == inf else "L2"
    step = 0.00625 if norm == inf else 2.5 * eps / 40
    pgd = {
        "foolbox": call(f"{name}PGD", abs_stepsize=step, steps=40, random_start=True, epsilons=eps),
        "torchattacks": call("PGD" if norm == inf else "PGDL2", eps=eps, alpha=step, steps=40, random_start=True),
        "art": art("ProjectedGradientDescent", 200, norm=norm, eps=eps, eps_step=step, max_iter=40, num_random_init=1),
    }
    if norm == inf:
        pgd["adv-lib"] = call("pgd_linf", ε=eps, steps=40, random_init=True, loss_function="ce", absolute_step_size=step)
    ball = {"norm": norm, "eps": eps}
    loss, loss2 = ("ce", "cross_entropy") if norm == inf else ("dlr", "difference_logits_ratio")
    apgd = {
        "torchattacks": call("APGD", norm=name, eps=eps, steps=100, n_restarts=1, seed=SEED, loss=loss),
        "art": art(
            "AutoProjectedGradientDescent", 200, **ball, eps_step=2 * eps, max_iter=100, nb_random_init=1, loss_type=loss2
        ),
        "adv-lib": call("apgd", norm=norm, eps=eps, n_iter=100, n_restarts=1, loss_function=loss),
    }
    square = {
        "torchattacks": call("Square", norm=name, eps=eps, n_queries=1000, n_restarts=1, p_init=0.8, seed=SEED),
        "art": art("SquareAttack", 200, norm=norm, eps=eps, max_iter=1000, p_init=0.8, nb_restarts=1),
    }
    return {
        f"PGD {key}": Row(norm, 200, eps, f"40 steps of {step:g}, random start, cross entropy", pgd),
        f"APGD-{loss.upper()} {key}": Row(norm, 200, eps, f"100 steps, 1 start, {loss.upper()} loss", apgd),
        f"Square {key}": Row(norm, 200, eps, "1000 proposals, 1 start", square),
    }


def one_step_and_targeted(eps: float = 0.1) -> dict[str, Row]:
    """The attacks that the comparison has in the l-inf ball only."""
    step = 1 / 255
    fgsm = {
        "foolbox": call("LinfFastGradientAttack", random_start=False, epsilons=eps),
        "torchattacks": call("FGSM", eps=eps),
        "art": art("FastGradientMethod", 200, norm=inf, eps=eps, eps_step=eps),
    }
    bim = {
        "foolbox": call("LinfBasicIterativeAttack", abs_stepsize=step, steps=32, random_start=False, epsilons=eps),
        "torchattacks": call("BIM", eps=eps, alpha=step, steps=32),
        "art": art("BasicIterativeMethod", 200, eps=eps, eps_step=step, max_iter=32),
    }
    apgd_t = {
        "torchattacks": call("APGDT", norm="Linf", eps=eps, steps=100, n_restarts=1, seed=SEED, n_classes=CLASSES),
        "adv-lib": call("apgd_targeted", norm=inf, eps=eps, n_iter=100, n_restarts=1, num_targets=CLASSES - 1),
    }
    return {
        f"FGSM linf:{eps:g}": Row(inf, 200, eps, "1 step of the radius", fgsm),
        f"BIM linf:{eps:g}": Row(inf, 200, eps, "32 steps of 1/255, no random start", bim),
        f"APGD-T linf:{eps:g}": Row(inf, 200, eps, "9 targets x 100 steps, 1 start each, targeted DLR loss", apgd_t),
    }


def minimum_norm() -> dict[str, Row]:
    """The gradient attacks that look for the nearest adversarial example."""

    def cw(steps: int) -> dict[str, Call]:
        foolbox = call("L2CarliniWagnerAttack", binary_search_steps=9, steps=steps, stepsize=0.01)
        adv_lib = call("carlini_wagner_l2", binary_search_steps=9, max_iterations=steps, learning_rate=0.01)
        return {"foolbox": foolbox, "adv-lib": adv_lib}

    long = cw(1000) | {"torchattacks": call("CW", c=1, kappa=0, steps=1000, lr=0.01)}
    short = cw(100) | {"art": art("CarliniL2Method", 20, binary_search_steps=9, max_iter=100, learning_rate=0.01)}
    deepfool = {
        "foolbox": call("L2DeepFoolAttack", steps=50, candidates=CLASSES, overshoot=0.02),
        "torchattacks": call("DeepFool", steps=50, overshoot=0.02),
        "art": art("DeepFool", 200, max_iter=50, epsilon=0.02, nb_grads=CLASSES),
        "adv-lib": call("df", steps=50, overshoot=0.02, norm=2),
    }
    deepfool_linf = {
        "foolbox": call("LinfDeepFoolAttack", steps=50, candidates=CLASSES, overshoot=0.02),
        "adv-lib": call("df", steps=50, overshoot=0.02, norm=inf),
    }
    jsma = {
        "torchattacks": call("JSMA", theta=1.0, gamma=0.145),
        "art": art("SaliencyMapMethod", 50, theta=1.0, gamma=0.145),
    }
    ddn = {"foolbox": call("DDNAttack", steps=100), "adv-lib": call("ddn", steps=100, levels=None)}
    pixels = "pixels set to 1, at most 14.5 % of them"
    anywhere = {"art": jsma["art"]}
    return {
        "CarliniWagner l2": Row(2, 100, None, "9 constants (torchattacks: one) x 1000 Adam steps, lr 0.01", long),
        "CarliniWagner l2 9x100": Row(2, 20, None, "9 constants x 100 Adam steps, lr 0.01", short),
        "DeepFool l2": Row(2, 200, None, "50 steps, overshoot 0.02", deepfool),
        "DeepFool linf": Row(inf, 200, None, "50 steps, overshoot 0.02", deepfool_linf),
        "JSMA l0": Row(0, 50, None, f"targeted at the next class; {pixels}", jsma, "targeted"),
        "JSMA untargeted l0": Row(0, 50, None, f"targets of the library's choice; {pixels}", anywhere, "unlabelled"),
        "DDN l2": Row(2, 200, None, "100 steps, no quantisation", ddn),
    }


def queries() -> dict[str, Row]:
    """The attacks that see only decisions or scores, on few examples."""
    rows = {}
    for name, norm in (("l2", 2), ("linf", inf)):
        hop = {
            "foolbox": call("HopSkipJumpAttack", steps=20, constraint=name),
            # foolbox scales a gradient estimate by the norm over the whole batch
            "foolbox (one by one)": Call("HopSkipJumpAttack", {"steps": 20, "constraint": name}, batch=1),
            "art": art("HopSkipJump", 20, norm=norm, max_iter=20, max_eval=10000, init_eval=100, init_size=100),
        }
        rows[f"HopSkipJump {name}"] = Row(norm, 20, None, "20 iterations, 100 to 10000 evaluations per gradient", hop)
    for pixels in (1, 3):
        evolution = {
            "torchattacks": call("OnePixel", pixels=pixels, steps=75, popsize=400),
            "art": call("PixelAttack", th=pixels, es=1, max_iter=75),
        }
        budget = f"75 generations, {400 // (3 * pixels) * 3 * pixels} candidates (400 rounded down by the libraries)"
        rows[f"OnePixel l0:{pixels}"] = Row(0, 20, pixels, budget, evolution)
    return rows


def table() -> dict[str, Row]:
    return one_step_and_targeted() | fixed_radius(0.1, inf) | fixed_radius(1.5, 2) | minimum_norm() | queries()


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
    distance = distances(found - x, row.norm)
    classes = net(found).argmax(1)
    success = finite & (classes == (y + 1) % CLASSES if row.goal == "targeted" else classes != y)
    if row.radius is not None:
        success &= distance <= row.radius * (1 + 1e-5) + 1e-6
    median = torch.where(success, distance, inf).quantile(0.5, interpolation="lower").item()
    return {"success": success.float().mean().item(), "median": median if median < inf else None}


def measure(net: nn.Module, row: Row, x: Tensor, y: Tensor, library: str) -> dict[str, Any]:
    """Run one library on one row; whatever it raises is its result."""
    spec = row.calls[library]
    counted = Counted(net).eval()
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - the libraries draw from the global generator
    torch.manual_seed(SEED)
    try:
        run = load(library.split(" ")[0])
        with cpu_limit(LIMIT):
            start = time.process_time()
            parts = torch.arange(row.n).split(spec.batch or row.n)
            found = torch.cat([run(counted, x[part], y[part], row.goal, spec) for part in parts])
            seconds = time.process_time() - start
    except (Exception, OutOfTimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        name = "" if isinstance(error, OutOfTimeError) else f"{type(error).__name__}: "
        return {"error": name + reason, "parameters": str(spec)}
    cost = {"forwards": round(counted.rows / row.n, 2), "seconds": round(seconds, 3)}
    verdict = {k: v if v is None else round(v, 6) for k, v in judge(net, row, x, y, found).items()}
    return verdict | cost | {"parameters": str(spec)}


def main(case: str, out: str, *names: str) -> None:
    """Measure the named rows, or all, and save each in turn."""
    torch.set_num_threads(1)
    rows = table()
    if unknown := set(names) - set(rows):
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}; there are: {', '.join(rows)}")
    weights = load_file(case)
    images, labels = weights.pop("case.x").float() / 255, weights.pop("case.y")
    net = SmallCNN().eval()
    net.load_state_dict(weights)
    logits = net(images)
    nn.functional.cross_entropy(logits, labels).backward()  # a first pass, so that nobody pays for it
    net.zero_grad()
    if not (logits.argmax(1) == labels).all():
        raise SystemExit("the case holds examples that the network misclassifies")
    path = Path(out)
    done = json.loads(path.read_text())["rows"] if path.exists() else {}
    for key in names or rows:
        row = rows[key]
        results = {}
        for library in sorted(row.calls):
            results[library] = measure(net, row, images[: row.n], labels[: row.n], library)
            print(key, library, results[library], flush=True)
        done[key] = {"n": row.n, "radius": row.radius, "budget": row.budget, "libraries": results}
        report = {
            "machine-independent": ["success", "median", "forwards"],
            "command": COMMAND,
            "versions": {
                p: importlib.metadata.version(p) for p in PACKAGES if list(importlib.metadata.distributions(name=p))
            },
            "rows": {k: done[k] for k in rows if k in done},
        }
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
