"""Train the same network twice, on clean digits and on what PGD makes of them, and compare what is left under attack.

python examples/train_and_compare.py
"""

import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.models.zoo import SmallCNN

EPS = "linf:0.1"
inner = sp.attacks.PGD(steps=5, step_size=0.05, loss="cross_entropy")
trainers = {
    "standard": sp.Trainer(epochs=8),
    "adversarial": sp.Trainer(epochs=8, attack=inner, threat=sp.Linf(0.1), warmup=2),
}
x, y = load("digits").batch(range(200))
for name, trainer in trainers.items():
    torch.manual_seed(0)
    model = trainer.fit(SmallCNN((1, 8, 8)), load("digits", "train"))
    clean = float((model.labels(x) == y).float().mean())
    result = sp.attack(model, x, y, EPS, sp.attacks.APGD(steps=50))
    print(f"{name}: clean accuracy {clean:.1%}, robust accuracy {result.robust_accuracy} at {EPS}")
