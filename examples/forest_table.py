"""Attack a random forest on a table whose columns cannot all be changed: some never, some only upward, few at a time.

python examples/forest_table.py
"""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import saddlepoint as sp
from saddlepoint.threats import features_of

data = load_breast_cancer()
x_train, x, y_train, y = train_test_split(data.data.astype("float32"), data.target, test_size=0.3, random_state=0)
forest = RandomForestClassifier(100, random_state=0).fit(x_train, y_train)
print(f"accuracy of the forest: {forest.score(x, y):.3f}")

# Bounds and scales from the training table; sizes are measured and stay, errors of measurement can only grow.
names = list(data.feature_names)
features = features_of(
    x_train,
    names,
    never=["mean radius", "mean perimeter", "mean area"],
    up=[name for name in names if name.endswith("error")],
)
model = sp.SklearnModel(forest, bounds=(0.0, float(max(x_train.max(), x.max()))))
rows, labels = torch.from_numpy(x[:20]), torch.from_numpy(y[:20])

for threat in (sp.Tabular(0.1, features=features), sp.Tabular(0.3, changes=3, features=features)):
    limit = f"at most {threat.eps:g} of a column's range" + (f", {threat.changes} columns" if threat.changes else "")
    for attack in (sp.attacks.RandomSearch(candidates=200, population=50), sp.attacks.FeatureSearch(steps=20)):
        result = sp.attack(model, rows, labels, threat, attack)
        asked = f"{result.queries.float().mean():.0f} questions a row"
        print(f"{type(attack).__name__}, {limit}: robust accuracy {result.robust_accuracy}, {asked}")
