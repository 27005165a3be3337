"""The attacks of this library on the cases that the public libraries were measured on (see benchmarks/peers.py).

python tests/reference/cases.py tests/reference/ours.json [--case NAME] [ROW ...]
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import saddlepoint as sp
from saddlepoint.bench.rounds import Counted
from saddlepoint.core.attack import Attack, LearnedAttack
from saddlepoint.core.config import to_config
from saddlepoint.models.zoo import SmallCNN

HERE = Path(__file__).parent
A = sp.attacks
Table = dict[str, tuple[Attack | LearnedAttack, str, int]]
FEW = 20  # images where a library takes more than a minute for them


@dataclass(frozen=True)
class Net:
    """One case: the threats of its rows, and if queries are counted too."""

    linf: str
    l2: str
    l1: str
    universal: str
    queries: bool = False


NETS = {
    "digits": Net("linf:0.1", "l2:1.5", "l1:8", "linf:0.2", queries=True),
    "fashion": Net("linf:0.03", "l2:0.5", "l1:3", "linf:0.06"),
    "fashion-robust": Net("linf:0.1", "l2:1.5", "l1:8", "linf:0.25"),
}


def table(net: Net) -> Table:
    """Row of peers.json -> our attack, threat, and number of examples; steps as the peers had."""
    pgd = A.PGD(step_size=float(net.linf.partition(":")[2]) / 16)
    rows: Table = {
        f"FGSM {net.linf}": (A.FGSM(), net.linf, 200),
        f"BIM {net.linf}": (A.BIM(steps=32), net.linf, 200),
        f"MIFGSM {net.linf}": (A.MIFGSM(), net.linf, 200),
        f"NIFGSM {net.linf}": (A.NIFGSM(), net.linf, 200),
        f"DIFGSM {net.linf}": (A.DIFGSM(), net.linf, 200),
        f"TIFGSM {net.linf}": (A.TIFGSM(), net.linf, 200),
        f"SIFGSM look-ahead {net.linf}": (A.SIFGSM(look_ahead=True), net.linf, 200),
        f"PGD {net.linf}": (pgd, net.linf, 200),
        f"PGD {net.l2}": (A.PGD(), net.l2, 200),
        f"PGD-CW {net.linf}": (replace(pgd, loss="margin"), net.linf, 200),
        f"APGD-CE {net.linf}": (A.APGD(), net.linf, 200),
        f"APGD-DLR {net.l2}": (A.APGD(loss="dlr"), net.l2, 200),
        f"APGD-T {net.linf}": (A.APGD(targets=9), net.linf, 200),
        f"APGD-CE {net.l1}": (A.APGD(), net.l1, 200),
        "DeepFool l2": (A.DeepFool(), "l2", 200),
        "DeepFool linf": (A.DeepFool(), "linf", 200),
        "SparseFool l0": (A.SparseFool(), "l0", 200),
        "DDN l2": (A.DDN(), "l2", 200),
        **{f"FMN {norm}": (A.FMN(), norm, 200) for norm in ("l0", "l1", "l2", "linf")},
        **{f"FAB {norm}": (A.FAB(), norm, 200) for norm in ("l1", "l2", "linf")},
        "FAB-T linf": (A.FAB(targets=9), "linf", 200),
        **{f"ALMA {norm}": (A.ALMA(), norm, 200) for norm in ("l1", "l2")},
        "EAD l1": (A.EAD(), "l1", 200),
        "EAD l1 few": (A.EAD(), "l1", FEW),
        "LBFGS l2": (A.LBFGS(), "l2", 200),
        "ExactLinear l2": (A.ExactLinear(), "l2", 200),
        "CarliniWagner l2": (A.CarliniWagner(), "l2", 200),
        "CarliniWagner l2 9x100": (A.CarliniWagner(), "l2", 200),
        **{f"CarliniWagner {norm}": (A.CarliniWagner(), norm, 200) for norm in ("l0", "linf")},
        **{f"CarliniWagner {norm} few": (A.CarliniWagner(), norm, FEW) for norm in ("l0", "l2", "linf")},
        "JSMA l0": (A.JSMA(), "l0", 200),
        "JSMA untargeted l0": (A.JSMA(), "l0", 200),
        "SigmaZero l0": (A.SigmaZero(), "l0", 200),
        "BrendelBethge l0": (A.BrendelBethge(steps=200), "l0", 200),
        **{f"BrendelBethge {norm}": (A.BrendelBethge(), norm, 200) for norm in ("l1", "l2", "linf")},
        "GridSearch spatial:30,3": (A.GridSearch(), "spatial:30,3", 200),
        f"AutoAttack {net.linf}": (A.AutoAttack(), net.linf, 200),
        f"UAP {net.universal}": (A.UniversalPGD(), net.universal, 200),
    }
    if net.queries:
        rows |= {
            "PGD linf:0.3": (A.PGD(step_size=0.05), "linf:0.3", 200),
            f"Square {net.linf}": (A.Square(steps=1000), net.linf, 200),
            f"Square {net.l2}": (A.Square(steps=1000), net.l2, 200),
            "HopSkipJump l2": (A.HopSkipJump(steps=20), "l2", 20),
            "HopSkipJump linf": (A.HopSkipJump(steps=20), "linf", 20),
            f"Square {net.l1}": (A.Square(steps=1000), net.l1, 40),
            "Boundary l2": (A.Boundary(steps=500), "l2", 20),
            "SurFree l2": (A.SurFree(steps=650), "l2", 20),
            "SignOPT l2": (A.SignOPT(steps=21), "l2", 10),
            "RayS linf": (A.RayS(steps=5000), "linf", 20),
            "Pointwise l0": (A.Pointwise(), "l0", 20),
            "Pointwise l1": (A.Pointwise(), "l1", 20),
            "SaltAndPepper l0": (A.SaltAndPepper(), "l0", 20),
            "BlendedNoise l2": (A.BlendedNoise(), "l2", 20),
            f"SimBA {net.l2}": (A.SimBA(steps=1000), net.l2, 20),
            f"NES {net.linf}": (A.NES(steps=100), net.linf, 20),
            f"PartialNES {net.linf}": (A.PartialNES(steps=100), net.linf, 10),
            f"LabelNES {net.linf}": (A.LabelNES(steps=15), net.linf, 10),
            f"SPSA {net.linf}": (A.SPSA(steps=20), net.linf, 20),
            f"Bandits {net.l2}": (A.Bandits(steps=2500), net.l2, 20),
            "ZOO l2": (A.ZOO(), "l2", 5),
            "LocalSearch l0": (A.LocalSearch(), "l0", 20),
            f"FeatureSearch {net.linf}": (A.FeatureSearch(steps=30), net.linf, 20),
            "CornerSearch l0:3": (A.CornerSearch(), "l0:3", 40),
            "SparseRS l0:3": (A.SparseRS(steps=6000), "l0:3", 40),
            "OnePixel l0:1": (A.OnePixel(generations=75), "l0:1", 20),
            "OnePixel l0:3": (A.OnePixel(generations=75), "l0:3", 20),
        }
    # What has no peer, or is no weaker than the parts it is made of.
    return rows | {
        f"EachClass {net.linf}": (A.EachClass(attack=pgd), net.linf, 200),
        f"Tournament {net.linf}": (A.Tournament(), net.linf, 200),
        f"Express {net.linf}": (A.Express(), net.linf, 200),
        f"RandomSearch {net.linf}": (A.RandomSearch(), net.linf, 200),
        f"SIFGSM {net.linf}": (A.SIFGSM(), net.linf, 200),
        "StAdv flow:1": (A.StAdv(), "flow:1", 200),
        f"Restarts {net.linf}": (A.Restarts(attack=pgd, restarts=3), net.linf, 200),
        f"Cascade {net.linf}": (A.Cascade(attacks=(A.APGD(), A.APGD(targets=9), A.Square(steps=200))), net.linf, 200),
    }


ROWS: dict[str, Table] = {name: table(net) for name, net in NETS.items()}


def case(name: str = "digits") -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A committed net and its 200 images, all classified right."""
    tensors = load_file(HERE / "cases" / f"{name}.safetensors")
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(tensors)
    return net, x, y


def measure(name: str, row: str) -> dict[str, Any]:
    """Success rate, median size and passes of one row of a case."""
    attack, threat, n = ROWS[name][row]
    net, x, y = case(name)
    goal = sp.Targeted((y[:n] + 1) % 10) if row == "JSMA l0" else sp.Untargeted(y[:n])
    started, counted = time.process_time(), Counted(net)
    model = sp.TorchModel(counted)
    played = sp.fit(model, x[:n], goal, threat, attack) if isinstance(attack, LearnedAttack) else attack
    result = sp.attack(model, x[:n], goal, threat, played)
    seconds = time.process_time() - started
    median = result.median_size
    return {
        "n": n,
        "success": result.success_rate.value,
        "median": round(median, 5) if median < float("inf") else None,
        "forwards": round(counted.forwards / n, 1),
        "backwards": round(counted.backwards / n, 1),
        "seconds": round(seconds, 2),
        "attack": to_config(attack),
    }


def peers(name: str) -> dict[str, Any]:
    """What the public libraries reached on a case, row by row."""
    return json.loads((HERE / "peers.json").read_text())["cases"].get(name, {"rows": {}})["rows"]


def best(name: str, row: str) -> tuple[float, float]:
    """Highest success rate and smallest median of any library; 0 and infinity where all failed."""
    found = [entry for entry in peers(name)[row]["libraries"].values() if "success" in entry]
    medians = [entry["median"] for entry in found if entry["median"] is not None]
    return max((entry["success"] for entry in found), default=0.0), min(medians, default=float("inf"))


def save(out: Path, name: str, row: str, found: dict[str, Any]) -> None:
    """Put one row into the report; rows that are gone from the table leave."""
    done = json.loads(out.read_text())["cases"] if out.exists() else {}
    done.setdefault(name, {"rows": {}})["rows"][row] = found
    report = {
        "command": "python tests/reference/cases.py tests/reference/ours.json",
        "versions": {"saddlepoint": sp.__version__, "torch": torch.__version__},
        "cases": {k: {"rows": {r: done[k]["rows"][r] for r in ROWS[k] if r in done[k]["rows"]}} for k in ROWS if k in done},
    }
    out.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Measure rows, all by default, and write them beside what was there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", action="append", choices=NETS, help="all by default")
    parser.add_argument("rows", nargs="*", help="names of rows, or of attacks for all of their rows")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    for name in options.case or NETS:
        for row in ROWS[name]:
            if options.rows and not {row, row.split()[0]} & set(options.rows):
                continue
            found = measure(name, row)
            bar = best(name, row) if row in peers(name) else ("-", "-")
            print(name, row, {k: v for k, v in found.items() if k != "attack"}, "best peer", *bar, flush=True)
            save(options.out, name, row, found)


if __name__ == "__main__":
    main()
