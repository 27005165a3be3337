"""Fail the build when a model's robust accuracy is below a bar, or when the evidence is not valid.

python examples/audit_in_ci.py
"""

import sys
import tempfile

import torch
from sklearn.linear_model import LogisticRegression

import saddlepoint as sp
from saddlepoint.data import load

BAR = 0.25

x, y = load("digits", "train").batch(range(1000))
fitted = LogisticRegression(C=0.1, max_iter=500).fit(x.flatten(1).numpy(), y.numpy())
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
net[1].weight.data = torch.tensor(fitted.coef_, dtype=torch.float32)
net[1].bias.data = torch.tensor(fitted.intercept_, dtype=torch.float32)

with tempfile.TemporaryDirectory() as folder:  # keep the folder in earnest: the same call then goes on in it
    run = sp.audit(net, "digits", "linf:0.05", limit=50, attacks=["FGSM", "PGD"], out=folder)
subject = run.result()["subjects"][0]
print(subject["verdict"]["sentence"])
if not subject["verdict"]["valid"]:
    sys.exit(3)
if subject["robust"]["low"]["value"] < BAR:
    sys.exit(1)
