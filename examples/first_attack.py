"""How many of 200 digits does a small network still get right when every pixel may change by a tenth?

python examples/first_attack.py
"""

import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.models.zoo import SmallCNN

torch.manual_seed(0)  # the network's first parameters; everything else is seeded by itself
model = sp.Trainer(epochs=8).fit(SmallCNN((1, 8, 8)), load("digits", "train"))
x, y = load("digits").batch(range(200))

result = sp.attack(model, x, y, "linf:0.1", "APGD")
print("robust accuracy", result.robust_accuracy)
print("success rate   ", result.success_rate)
