"""Show noise to a network for digits: how often it is sure of a class, and whether it can be told which one to see.

python examples/rubbish.py
"""

import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.theory.rubbish import fooling, gallery, rubbish

torch.manual_seed(0)
model = sp.Trainer(epochs=8).fit(SmallCNN((1, 8, 8)), load("digits", "train"))
found = rubbish(model, (1, 8, 8), samples=500)
for kind in found:
    print(f"{kind.kind} noise: {kind.rate()} errors, at mean confidence {kind.confidence():.1%}")
fooled = fooling(model, (1, 8, 8), "linf:0.2", samples=5)
gallery("rubbish.png", found, fooled)
print("noise turned into the class that was wanted:", fooled.rate())
