"""Attack classifiers that show no gradients: a forest by its probabilities, and a program by its answers alone.

python examples/black_box.py
"""

from sklearn.ensemble import RandomForestClassifier

import saddlepoint as sp
from saddlepoint.data import load

x, y = load("digits", "train").batch(range(1000))
forest = RandomForestClassifier(50, random_state=0).fit(x.flatten(1).numpy(), y.numpy())

x, y = load("digits").batch(range(20))
scores = sp.SklearnModel(forest)
result = sp.attack(scores, x, y, "linf:0.2", sp.attacks.Square(steps=200), queries=150)
print("by probabilities, 150 questions an image: robust accuracy", result.robust_accuracy)


def program(images):
    """Anything that takes an array (b, 1, 8, 8) and returns b class numbers: a web service, another framework."""
    return forest.predict(images.reshape(len(images), -1))


answers = sp.CallableModel(program, returns="labels")
result = sp.attack(answers, x[:5], y[:5], "l2", sp.attacks.HopSkipJump(steps=2))
print("by answers alone: median L2 size of the change", round(result.median_size, 3))
