"""Audit every network of the gallery, its variations and the honest ones, and write down what the audits said.

python benchmarks/trust.py benchmarks/trust.json [NAME ...]

The audit is told nothing but the model and the data. Beside its verdict stand the accuracies under the attack as it is
commonly written and under the attack written by hand, on the same examples. A random model is judged by the majority of 50
fresh draws.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import saddlepoint as sp
from honest_nets import HONEST
from masked_nets import MASKED
from saddlepoint.auditing import plan
from saddlepoint.core.game import Stop
from saddlepoint.core.play import as_model
from saddlepoint.core.result import Share
from saddlepoint.data import load
from saddlepoint.defenses.gallery import GALLERY
from saddlepoint.defenses.workshop import Workshop
from saddlepoint.evaluation.spec import versions

N = 100
FEWER = 50  # examples where every answer is the mean of many draws
SLOW = {"pixel-defend": 25, "quilting": 20, "defense-gan": 10}  # examples where a pass takes milliseconds
THREAT = "linf:0.2"
JURY = 50
CAUGHT = {
    "saturated": ("cross entropy has a gradient",),
    "shattered": ("gradients arrive", "gradients point downhill", "gradients beat no gradients"),
    "stochastic": ("same answer twice",),
    "vanishing": ("gradients arrive", "gradients point downhill", "same answer twice"),
    "broken": ("finite answers",),
    "detector": ("refusals", "gradients arrive", "gradients point downhill"),
}


def main() -> None:
    """Measure the networks named, or all, and keep what is there of the others."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--resume", action="store_true", help="only what is not there yet")
    given = arguments.parse_intermixed_args()
    torch.set_num_threads(1)
    workshop, test = Workshop(load("mnist-5k", "train")), load("mnist-5k")
    kinds = {"honest": HONEST, "gallery": GALLERY, "masked": MASKED}
    every = [(kind, name) for kind, entries in kinds.items() for name in entries]
    chosen = [(kind, name) for asked in given.names for kind, name in every if asked in (kind, name)]
    for kind, name in chosen or every:
        if given.resume and f"{kind}/{name}" in done(given.out)["rows"]:
            continue
        row = measured(kind, name, workshop, test)
        keep(given.out, f"{kind}/{name}", row)
        print(f"{kind}/{name}: {row['state']}, left {row['left']}, adaptive {row['adaptive']}", flush=True)


def measured(kind: str, name: str, workshop: Workshop, test: Any) -> dict[str, Any]:
    """One network: what the audit says, and what is known."""
    started = time.process_time()
    data, threat, adaptive, caught, about, random = test, THREAT, None, (), "", False
    how: Any = {"stop": Stop.NEVER}
    if kind == "honest":
        honest = HONEST[name]
        data, threat, about, model = honest.data(test), honest.threat, honest.about, honest.build(workshop)
    elif kind == "gallery":
        entry = GALLERY[name]
        model, about, caught, random = entry.build(workshop), entry.about, CAUGHT[entry.masking], entry.random
        threat = entry.threat
        if entry.masking != "broken":
            adaptive, how = entry.adaptive(model), entry.how
    else:
        masked = MASKED[name]
        model, about, caught = masked.build(workshop.plain()), masked.about, masked.caught
        random = "same answer twice" in caught
        if masked.adaptive is not None:
            adaptive = masked.adaptive(workshop.plain()), sp.attacks.PGD(steps=40, loss="margin")
    folder = Path(tempfile.mkdtemp())
    try:
        limit = SLOW.get(name, FEWER if random else N)
        made = plan(model, data, threat, limit=limit, out=folder)
        tasks = tuple(t for t in made.spec.tasks if t.role != "pairs")  # no verdict rests on them
        run = replace(made, spec=replace(made.spec, tasks=tasks)).run(report=False)
        result = run.result()["subjects"][0]
        ids = torch.tensor(run.spec.examples)
    finally:
        shutil.rmtree(folder)
    failed = [c["name"] for c in result["checks"] if not c["passed"]]
    row = {
        "about": about,
        "threat": threat,
        "n": len(ids),
        "state": result["verdict"]["state"],
        "sentence": result["verdict"]["sentence"],
        "failed": failed,
        "caught_by": [line for line in failed if line in caught],
        "clean": result["clean"],
        "naive": result["before"],
        "left": result["robust"]["high"] if result["robust"] else None,
        "adaptive": None,
        "words": result["trust"]["words"],
        "passes": result["trust"]["passes"],
        "seconds": round(time.process_time() - started, 1),
    }
    if adaptive is not None:
        x, y = data.batch(ids)
        row["adaptive"] = by_hand(model, *adaptive, x, y, threat, random, how).data()
    return row


def by_hand(model: Any, search: Any, method: sp.Attack, x: Any, y: Any, threat: str, random: bool, how: Any) -> Any:
    """Accuracy of the model as shipped under the attack that was written against it."""
    shipped = as_model(model)
    found = sp.attack(search, x, y, threat, method, **how)
    judge = sp.ExpectationOver(shipped, JURY, over="votes", seed=1) if random else shipped
    with judge.session(), torch.no_grad():
        right = judge.labels(x) == y
        answers = judge.labels(found.x_adv)
    safe = answers == y
    if shipped.rejection is not None:
        safe |= answers == shipped.rejection
    return Share(int((right & safe).sum()), len(y))


def done(out: Path) -> dict[str, Any]:
    """What was measured before."""
    return json.loads(out.read_text()) if out.exists() else {"rows": {}}


def keep(out: Path, key: str, row: dict[str, Any]) -> None:
    """Write one row at once, so that nothing is lost."""
    known = done(out)
    known["command"], known["versions"] = "python benchmarks/trust.py benchmarks/trust.json", versions()
    known["rows"][key] = row
    out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
