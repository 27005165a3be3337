"""A defense that only hides its gradients: random noise and sixteen gray levels, attacked as it is and as it should be.

python examples/adaptive_attack.py
"""

import torch

import saddlepoint as sp
from saddlepoint.core.game import Stop
from saddlepoint.data import load
from saddlepoint.subjects import trained


def defense(x):
    """Noise of a tenth, then the nearest of sixteen gray levels."""
    return ((x + 0.1 * torch.randn_like(x)).clamp(0, 1) * 15).round() / 15


model, _ = trained(sp.Trainer(epochs=8), load("digits", "train"), torch.device("cpu"))
x, y = load("digits").batch(range(100))
hidden = sp.Defended(model, defense, "exact")
shown = sp.ExpectationOver(sp.Defended(model, defense, "identity"), 10, together=True)
judge = sp.ExpectationOver(hidden, 100, together=True, seed=1)  # the mean answer, over draws that no attack has seen

torch.manual_seed(0)
found = {"no attack": x}
for name, of, steps in (("PGD on the defense", hidden, 200), ("PGD on its mean", shown, 20)):  # 200 passes each
    found[name] = sp.attack(of, x, y, "linf:0.1", sp.attacks.PGD(steps=steps), stop=Stop.NEVER).x_adv
for name, x_adv in found.items():
    with judge.session():
        print(f"{name}: {int((judge.labels(x_adv) == y).sum())} of {len(y)} right")
