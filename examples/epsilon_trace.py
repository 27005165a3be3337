"""Follow the logits of a plain and of an adversarially trained network along the direction of the fast gradient sign method.

python examples/epsilon_trace.py
"""

import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.theory.trace import trace

x, y = load("digits").batch(range(50))
inner = sp.attacks.PGD(steps=5, step_size=0.05, loss="cross_entropy")
trainers = {
    "standard": sp.Trainer(epochs=8),
    "adversarial": sp.Trainer(epochs=8, attack=inner, threat=sp.Linf(0.1), warmup=2),
}
for name, trainer in trainers.items():
    torch.manual_seed(0)
    model = trainer.fit(SmallCNN((1, 8, 8)), load("digits", "train"))
    found = trace(model, x, y, eps=2)
    right = found.interval[:, 1].median()
    straight, stable = found.linearity[:, 1].median(), found.stability.nanmedian()
    found.plot(f"trace-{name}.png", row=3)
    print(f"{name}: right up to eps {right:.3f}; R^2 {straight:.3f}; one wrong answer holds over {stable:.0%} of the rest")
