"""One change for every input: learn it on one network, and see how many answers it changes on others.

python examples/universal.py
"""

import torch

import saddlepoint as sp
from saddlepoint.data import load
from saddlepoint.metrics import fooling_table
from saddlepoint.models.train import seeded
from saddlepoint.models.zoo import SmallCNN

EPS = "linf:0.2"
train, test = load("digits", "train"), load("digits")
models = {
    f"net {seed}": sp.Trainer(epochs=4, seed=seed).fit(seeded(lambda: SmallCNN((1, 8, 8)), seed), train) for seed in range(3)
}
x, y = train.batch(range(300))
learned = {name: sp.fit(model, x, y, EPS, sp.attacks.UniversalPGD()) for name, model in models.items()}

others, _ = test.batch(range(200))
learned["noise"] = sp.attacks.RandomSearch(candidates=1)  # one random change an input, for comparison
print(f"answers changed at {EPS}, by what was learned on (row), on (column)")
print(" " * 12 + "".join(f"{name:>10}" for name in models))
table = fooling_table(learned, models, others, EPS)
for name, row in table.items():
    print(f"{name:12}" + "".join(f"{share.value:10.1%}" for share in row.values()))
transfer = [share.value for name, row in table.items() for on, share in row.items() if name in models and name != on]
print(f"on a network it was not learned on: {torch.tensor(transfer).mean():.1%} of {len(others)} answers, on average")
