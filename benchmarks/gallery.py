"""The gallery of broken defenses: accuracy clean, under an attack that knows nothing of the defense, and under its own.

    python benchmarks/gallery.py benchmarks/gallery.json [NAME ...]

A hundred digits that the data set "mnist-5k" holds out, in the threat that each entry names. The naive attack is PGD of 40
steps on the module as shipped, or on the network alone where a detector guards it; "textbook" is the same in ten lines of
torch, which a saturated softmax stops. Where the module cannot be differentiated, the error is noted, and accuracy is that
of clean images. Every answer is that of the defense as shipped; one that answers at random is wrong where the majority of 50
new draws is. A detector's rejection of a clean image is wrong; its rejection of an attacked one is right, and so is NaN. The
file is written after every entry, and the entries named are added to it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import saddlepoint as sp
from saddlepoint.core.errors import ModelError
from saddlepoint.core.play import as_model, as_threat
from saddlepoint.data import load
from saddlepoint.defenses.gallery import GALLERY, Entry
from saddlepoint.defenses.workshop import Workshop
from saddlepoint.models.guarded import Guarded

DATA, EXAMPLES, DRAWS, SEED = "mnist-5k", 100, 50, 0
NAIVE = sp.attacks.PGD(steps=40)


def right(entry: Entry, model: Any, x: Tensor, y: Tensor, attacked: bool) -> float:
    """Share of right answers."""
    votes = torch.zeros(len(x))
    draws = DRAWS if entry.random else 1
    with model.session(), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED + 1)
        for _ in range(draws):
            answers = model.labels(x)
            good = answers == y
            if attacked:
                good |= answers < 0
            if attacked and isinstance(model, Guarded):
                good |= answers == model.rejection
            votes += good
    return round(float((votes > draws / 2).float().mean()), 4)


def textbook(model: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """PGD as it is commonly written: 40 steps up the cross entropy of what the model returns, and the last point."""
    inner = model.model if isinstance(model, Guarded) else model
    x_adv = (x + eps * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    with inner.session():
        for _ in range(40):
            x_adv.requires_grad_()
            loss = torch.nn.functional.cross_entropy(inner.logits(x_adv), y)
            (gradient,) = torch.autograd.grad(loss, x_adv)
            x_adv = (x_adv.detach() + 2.5 * eps / 40 * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return x_adv


def measured(entry: Entry, workshop: Workshop, x: Tensor, y: Tensor) -> dict[str, Any]:
    """One entry's row."""
    started = time.perf_counter()
    shipped = entry.build(workshop)
    seconds = {"build": time.perf_counter() - started}
    model = as_model(shipped)
    row: dict[str, Any] = {"masking": entry.masking, "random": entry.random, "threat": entry.threat}
    row |= {"clean": right(entry, model, x, y, False)}
    for name in ("textbook", "naive", "adaptive"):
        torch.manual_seed(SEED)
        started = time.perf_counter()
        try:
            if name == "textbook":
                row[name] = right(entry, model, textbook(model, x, y, as_threat(entry.threat).reach), y, True)
                continue
            if name == "naive":
                result = sp.attack(model.model if isinstance(model, Guarded) else shipped, x, y, entry.threat, NAIVE)
            else:
                seen, attack = entry.adaptive(shipped)
                result = sp.attack(seen, x, y, entry.threat, attack, **entry.how)
            row[name] = right(entry, model, result.x_adv, y, True)
            row[f"{name}_outcomes"] = {o.name: int(result.rows(o).sum()) for o in sp.Outcome if result.rows(o).any()}
            row[f"{name}_blank"] = round(float(result.blank.sum() / result.gradients.sum().clamp_min(1)), 4)
        except (ModelError, RuntimeError) as error:
            row |= {name: row["clean"], f"{name}_error": str(error)}
        seconds[name] = time.perf_counter() - started
    return row | {"seconds": {k: round(v, 1) for k, v in seconds.items()}}


def main(out: str, *names: str) -> None:
    torch.set_num_threads(1)
    path = Path(out)
    table = json.loads(path.read_text()) if path.exists() else {}
    table |= {"data": DATA, "examples": EXAMPLES, "naive": "PGD(steps=40)", "draws": DRAWS}
    table.setdefault("entries", {})
    workshop = Workshop(load(DATA, "train"))
    x, y = load(DATA, "test").batch(range(EXAMPLES))
    for name in names or GALLERY:
        row = measured(GALLERY[name], workshop, x, y)
        table["entries"][name] = row
        path.write_text(json.dumps(table, indent=1) + "\n")
        figures = "  ".join(f"{key} {row[key]:.2f}" for key in ("clean", "textbook", "naive", "adaptive"))
        print(f"{name:20} {figures}  {row['seconds']}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
