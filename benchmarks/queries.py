"""Attacks by answers alone beside the public libraries, at equal queries: three networks, 50 images, three seeds.

    python benchmarks/queries.py benchmarks/queries.json [FAMILY ...]

Needs the libraries (`make peers` installs them). A library plays with its own budget; then ours plays the same images with
the same seed and as many queries an image: what the library would spend on an image that withstands, or where nobody stops
early, what it spent on average. The look at the clean image is a query. One judge decides. A row is saved as soon as it is
done, and the same command goes on.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from saddlepoint import attacks as A
from saddlepoint.bench import judge, rounds
from saddlepoint.bench.case import Call, inf
from saddlepoint.bench.libraries import versions
from saddlepoint.bench.nets import match
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import to_config
from saddlepoint.core.game import Stop
from saddlepoint.core.play import attack
from saddlepoint.models.torch import TorchModel

N = 50
SEEDS = (0, 1, 2)
LIMIT = 400.0  # seconds of CPU time for one library on one network with one seed
RADII = {"digits": (0.1, 1.5), "fashion": (0.03, 0.5), "fashion-robust": (0.1, 1.5)}  # l-inf, l-2
CASES = Path(__file__).parents[1] / "tests" / "reference" / "cases"


@dataclass(frozen=True)
class Family:
    """One attack here and elsewhere.

    Attributes:
        norm: of the distance.
        radius: from the network's name; None where the nearest is sought.
        ours: from a number of queries.
        calls: by library, from the network's name.
        budget: queries on an image that withstands; None where every image costs about alike.
        share: of these queries that ours may spend.
        probabilities: whether the libraries are shown those instead of logits.
    """

    norm: float
    radius: Callable[[str], float | None]
    ours: Callable[[int], Attack]
    calls: Callable[[str], dict[str, Call]]
    budget: int | None = None
    share: float = 1.0
    probabilities: bool = False


def linf(net: str) -> float:
    return RADII[net][0]


def l2(net: str) -> float:
    return RADII[net][1]


def nearest(_: str) -> None:
    return None


def square(norm: float, radius: Callable[[str], float]) -> Family:
    name = "Linf" if norm == inf else "L2"

    def calls(net: str) -> dict[str, Call]:
        eps = radius(net)
        parts = {"square.n_queries": 1000, "version": "custom", "attacks": ["square"]}
        return {
            "torchattacks": Call("Square", {"norm": name, "eps": eps, "n_queries": 1000, "n_restarts": 1, "p_init": 0.8}),
            "art": Call("SquareAttack", {"norm": norm, "eps": eps, "max_iter": 1000, "p_init": 0.8, "batch_size": N}),
            "autoattack": Call("AutoAttack", {"norm": name, "eps": eps} | parts),
        }

    return Family(norm, radius, lambda queries: A.Square(steps=queries), calls, 1000)


def pixels(count: int, ours: Callable[[int], Attack], share: float) -> Family:
    evolution = {"torchattacks": Call("OnePixel", {"pixels": count, "steps": 25, "popsize": 400})}
    return Family(0, lambda _: float(count), ours, lambda _: evolution, 25 * (400 // (3 * count) * 3 * count), share)


def spsa(net: str) -> dict[str, Call]:
    eps = linf(net)
    return {
        "torchattacks": Call("SPSA", {"eps": eps, "nb_iter": 20, "nb_sample": 128, "max_batch_size": 128}),
        "cleverhans": Call(
            "spsa", {"eps": eps, "nb_iter": 20, "norm": inf, "clip_min": 0, "clip_max": 1, "spsa_samples": 128}, batch=1
        ),
    }


def hop_skip_jump(queries: int) -> Attack:
    return A.HopSkipJump(steps=queries, first_evaluations=40, frequencies=0.5)


HOP = {
    "foolbox (one by one)": Call("HopSkipJumpAttack", {"steps": 10, "constraint": "l2"}, batch=1),
    "art": Call("HopSkipJump", {"norm": 2, "max_iter": 10, "max_eval": 10000, "init_eval": 100, "batch_size": N}),
    "cleverhans": Call("hop_skip_jump_attack", {"norm": 2, "num_iterations": 10, "verbose": False}),
}
WALK = {
    "foolbox": Call("BoundaryAttack", {"steps": 2000}),
    "art": Call("BoundaryAttack", {"targeted": False, "max_iter": 40, "batch_size": N}),
}
SIGN = {"art": Call("SignOPTAttack", {"targeted": False, "max_iter": 15, "query_limit": 100000, "batch_size": N})}
SIMPLE = {"art": Call("SimBA", {"attack": "px", "max_iter": 1000, "epsilon": 0.2, "batch_size": 1})}
COORDINATES = {
    "art": Call(
        "ZooAttack",
        {"max_iter": 40, "binary_search_steps": 1, "initial_const": 1.0, "use_resize": False, "use_importance": False},
    )
}
FAMILIES = {
    "Square linf": square(inf, linf),
    "Square l2": square(2, l2),
    "SPSA linf": Family(inf, linf, lambda queries: A.SPSA(steps=max(1, queries // 129)), spsa),
    "ZOO l2": Family(2, nearest, lambda queries: A.ZOO(coordinates=32), lambda _: COORDINATES),
    "SimBA l2": Family(2, l2, lambda queries: A.SimBA(steps=queries), lambda _: SIMPLE, 2001, probabilities=True),
    "HopSkipJump l2": Family(2, nearest, hop_skip_jump, lambda _: HOP),
    "SignOPT l2": Family(2, nearest, lambda queries: A.SignOPT(steps=queries, evaluations=100), lambda _: SIGN),
    "Boundary l2": Family(2, nearest, lambda queries: A.Boundary(steps=queries, candidates=5), lambda _: WALK),
    "OnePixel l0:1": pixels(1, lambda queries: A.CornerSearch(), 1.0),
    "OnePixel l0:3": pixels(3, lambda queries: A.SparseRS(steps=queries), 1 / 3),
}


def own(family: Family, net: str, queries: int) -> tuple[rounds.Play, Attack]:
    """What plays ours with so many queries an image."""
    method, radius = family.ours(queries), family.radius(net)
    kind = "linf" if family.norm == inf else f"l{family.norm:g}"
    threat = kind if radius is None else f"{kind}:{radius:g}"
    stop = Stop.NEVER if radius is None else Stop.FIRST_WIN

    def play(module: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        return attack(TorchModel(module), x, y, threat, method, seed=seed, stop=stop, queries=queries).x_adv

    return play, method


def theirs_on(label: str, call: Call, probabilities: bool) -> rounds.Play:
    """What plays a library, on the network or on its probabilities."""
    play = rounds.library(label, call, "untargeted")
    return (lambda net, *rest: play(nn.Sequential(net, nn.Softmax(1)), *rest)) if probabilities else play


def measure(name: str, net: str, label: str) -> dict[str, Any]:
    """One library on one network beside ours, seed by seed, and the mean of both."""
    family = FAMILIES[name]
    call, radius = family.calls(net)[label], family.radius(net)
    played = match(net, N, CASES)

    def how(_: nn.Module, found: Tensor) -> dict[str, Any]:
        return judge(played.net, played.x, played.y, found, norm=family.norm, radius=radius)

    theirs, ours, method, budget = [], [], None, 0
    for seed in SEEDS:
        row = rounds.once(theirs_on(label, call, family.probabilities), played, how, seed, LIMIT)
        if "error" in row:
            return {"parameters": str(call), "error": row["error"]}
        budget = int((family.budget or row["forwards"]) * family.share)
        play, method = own(family, net, budget)
        theirs.append(row)
        ours.append(rounds.once(play, played, how, seed, 1e6))
    sides = {"theirs": summed(theirs), "ours": summed(ours) | {"attack": to_config(method)}}
    return {"parameters": str(call), "budget": budget} | sides


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and the seeds; no median where one has none."""
    medians = [row["median"] for row in rows]
    return {
        "success": round(mean(row["success"] for row in rows), 4),
        "median": None if None in medians else round(mean(medians), 5),
        "queries": round(mean(row["forwards"] for row in rows), 1),
        "seconds": round(mean(row["seconds"] for row in rows), 2),
        "seeds": [[row["success"], row["median"]] for row in rows],
    }


def main() -> None:
    """Measure the families named, or all, and keep what is there of the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("families", nargs="*", help="measured anew; none for all that are not there yet")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.families or FAMILIES:
        for net in RADII:
            for label in FAMILIES[name].calls(net):
                report = json.loads(given.out.read_text()) if given.out.exists() else {"rows": {}}
                key = f"{name} / {net} / {label}"
                if key in report["rows"] and not given.families:
                    continue
                report["rows"][key] = row = measure(name, net, label)
                print(key, {side: row[side] for side in ("theirs", "ours", "error") if side in row}, flush=True)
                report |= {"command": "python benchmarks/queries.py benchmarks/queries.json", "n": N, "versions": versions()}
                given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
