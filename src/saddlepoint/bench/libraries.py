"""The public libraries: how each is called. None of them is needed to import this."""

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint.bench.case import CLASSES, Call

EXTRA = "pip install 'saddlepoint[bench]'"


@dataclass(frozen=True)
class Library:
    """One library.

    Attributes:
        package: its name in the index.
        module: where its attacks are.
        run: plays an attack: (module, network, x, y, goal, call) to what was found.
        install: the command that installs it. Those that ask for packages which cannot be had together go without theirs.
        plots: whether it imports torchvision and visdom, for plots that nobody asked for.
    """

    package: str
    module: str
    run: Callable[..., Tensor]
    install: str = EXTRA
    plots: bool = False


def with_torchvision() -> None:
    """Import torchvision; where its compiled part does not fit this torch, declare the two operators it misses."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        with_torchvision.library = library  # type: ignore[attr-defined]  # declarations last as long as this object
        importlib.import_module("torchvision")


def run_foolbox(foolbox: Any, net: nn.Module, x: Tensor, y: Tensor, _: str, call: Call) -> Tensor:
    parameters = dict(call.parameters)
    epsilons = parameters.pop("epsilons", None)
    attack = getattr(foolbox.attacks, call.attack)(**parameters)
    return attack(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), x, y, epsilons=epsilons)[1]


def run_torchattacks(torchattacks: Any, net: nn.Module, x: Tensor, y: Tensor, goal: str, call: Call) -> Tensor:
    make = getattr(torchattacks, call.attack)
    seeded = "seed" in inspect.signature(make).parameters  # those would begin from seed 0 in every round
    attack = make(net, **call.parameters, **({"seed": torch.initial_seed()} if seeded else {}))
    if goal == "targeted":
        attack.set_mode_targeted_by_function(lambda _, labels: (labels + 1) % CLASSES, quiet=True)
    return attack(x, y)


def art_classifier(net: nn.Module, x: Tensor, **how: Any) -> Any:
    """The network as ART wants it."""
    classification = importlib.import_module("art.estimators.classification")
    return classification.PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), CLASSES, clip_values=(0.0, 1.0), device_type="cpu", **how
    )


def run_art(evasion: Any, net: nn.Module, x: Tensor, y: Tensor, goal: str, call: Call) -> Tensor:
    attack = getattr(evasion, call.attack)(art_classifier(net, x), **call.parameters)
    if "verbose" in attack.attack_params:
        attack.set_params(verbose=False)
    labels = nn.functional.one_hot((y + 1) % CLASSES if goal == "targeted" else y, CLASSES).numpy()
    return torch.from_numpy(attack.generate(x.numpy(), None if goal == "unlabelled" else labels))


def by_part(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters of the whole, and those with a dot, which are of a part or a method: square.n_queries, fit.nb_epochs."""
    parts: dict[str, dict[str, Any]] = {"": {}}
    for name, value in parameters.items():
        part, _, setting = name.rpartition(".")
        parts.setdefault(part, {})[setting] = value
    return parts.pop(""), parts


def train_art(_: Any, net: nn.Module, x: Tensor, y: Tensor, __: str, call: Call) -> Tensor:
    """Train a network with one of ART's trainers; there is nothing to return but the inputs."""
    trainers = importlib.import_module("art.defences.trainer")
    own, parts = by_part(call.parameters)
    rate = own.pop("learning_rate")
    classifier = art_classifier(net, x, optimizer=torch.optim.Adam(net.parameters(), rate))
    trainer = getattr(trainers, call.attack)(classifier, **own)
    trainer.fit(x.numpy(), nn.functional.one_hot(y, CLASSES).numpy(), **parts.get("fit", {}))
    return x


def run_adv_lib(attacks: Any, net: nn.Module, x: Tensor, y: Tensor, _: str, call: Call) -> Tensor:
    return getattr(attacks, call.attack)(net, x, y, **call.parameters)


def run_cleverhans(_: Any, net: nn.Module, x: Tensor, y: Tensor, __: str, call: Call) -> Tensor:
    """Every attack has a module of its own name; those that take no labels attack the network's own answers."""
    attack = getattr(importlib.import_module(f"cleverhans.torch.attacks.{call.attack}"), call.attack)
    labels = {} if call.attack == "hop_skip_jump_attack" else {"y": y}
    return attack(net, x, **call.parameters, **labels)


def run_autoattack(module: Any, net: nn.Module, x: Tensor, y: Tensor, _: str, call: Call) -> Tensor:
    own, parts = by_part(call.parameters)
    attack = getattr(module, call.attack)(net, seed=torch.initial_seed(), **own)
    for part, settings in parts.items():
        for name, value in settings.items():
            setattr(getattr(attack, part), name, value)
    return attack.run_standard_evaluation(x, y, batch_size=len(x))[0]


def alone(package: str) -> str:
    return f"pip install --no-deps {package}"


LIBRARIES = {
    "foolbox": Library("foolbox", "foolbox", run_foolbox),
    "torchattacks": Library("torchattacks", "torchattacks", run_torchattacks, alone("torchattacks"), plots=True),
    "art": Library("adversarial-robustness-toolbox", "art.attacks.evasion", run_art),
    "art trainer": Library("adversarial-robustness-toolbox", "art.attacks.evasion", train_art),
    "adv-lib": Library("adv-lib", "adv_lib.attacks", run_adv_lib, alone("adv-lib"), plots=True),
    "cleverhans": Library("cleverhans", "cleverhans", run_cleverhans, alone("cleverhans")),
    "autoattack": Library("pyautoattack", "pyautoattack", run_autoattack),
}


def library_of(label: str) -> Library:
    """The library that a label such as "foolbox (one by one)" names."""
    return LIBRARIES[label.split(" (")[0]]


def installed(label: str) -> bool:
    """Whether the library of a label is there."""
    return importlib.util.find_spec(library_of(label).module.split(".")[0]) is not None


def versions() -> dict[str, str]:
    """Version by package, of the libraries that are installed and of what they compute with."""
    found = {}
    for package in dict.fromkeys([*(library.package for library in LIBRARIES.values()), *BELOW]):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


BELOW = ("torch", "torchvision", "numpy", "scipy", "numba")


def load(label: str) -> Callable[..., Tensor]:
    """Import a library and return what runs an attack of it."""
    library = library_of(label)
    if library.plots:
        with_torchvision()
        sys.modules.setdefault("visdom", types.ModuleType("visdom"))
    return partial(library.run, importlib.import_module(library.module))
