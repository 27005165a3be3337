"""The cases: every bar as data, with the call of each library that has the attack.

Budgets are those of the papers. The committed networks have 200 images each, where the bars were set with up to 500. Where a
library takes minutes, a case has fewer images, or that library plays one round: see `Case.rounds`.
"""

from saddlepoint.bench.case import Bar
from saddlepoint.bench.cases.nearest import carlini_wagner, decisions, deepfool, ead, fast_minimum_norm, jsma
from saddlepoint.bench.cases.others import fast_training, free_training, spatial, training, universal
from saddlepoint.bench.cases.radius import apgd, apgd_t, autoattack, fab_t, pgd, pixels, square

ROBUST = Bar(3, "floor", 1.03), Bar(3, "times", 1.2, "foolbox"), Bar(3, "times", 1.37, "art"), Bar(3, "success", 0.0)
LARGER = Bar(3, "floor", 1.03), Bar(3, "times", 1.3, "foolbox"), Bar(3, "times", 1.4, "art"), Bar(3, "success", 0.0)
EVERY = (
    pgd("pgd-digits", "PGD", (Bar(1, "times", 1.8), Bar(1, "success", -0.005)), "digits", 0.1),
    pgd("pgd-digits-0.3", "PGD where everything is fooled", (Bar(2, "times", 8), Bar(2, "success", -0.005)), "digits", 0.3),
    pgd("pgd-robust", "PGD on a network trained against it", ROBUST, "fashion-robust", 0.1),
    pgd("pgd-residual", "PGD on a larger network, where little is fooled", LARGER, "residual", 0.01, 100),
    pgd("pgd-floor", "PGD where nothing is fooled: what our bookkeeping costs", (Bar(3, "floor", 1.03),), "digits", 0.002),
    apgd("digits", 2.7),
    apgd("fashion-robust", 1.05),
    apgd_t(100, 1.0),
    apgd_t(10, 2.2),
    fab_t(),
    square("square-100", "digits", 100, 1.1),
    square("square-10", "digits", 10, 2.0),
    square("square-robust-10", "fashion-robust", 10, 1.5),
    autoattack("digits", 0.15, 100, 5, Bar(8, "times", 2.4, "torchattacks")),
    autoattack("fashion-robust", 0.1, 50, 1.25),
    carlini_wagner(100, 20, 3.7),
    carlini_wagner(1000, 10, 25),
    deepfool("digits"),
    deepfool("fashion-robust"),
    *jsma(),
    ead(),
    *fast_minimum_norm(),
    *pixels(),
    *decisions(),
    universal(),
    spatial("digits"),
    spatial("fashion-robust"),
    training(),
    free_training(),
    fast_training(),
)
CASES = {case.name: case for case in EVERY}
"""All cases by name, in the order in which they are measured."""
GROUPS = tuple(dict.fromkeys(case.group for case in EVERY))
"""What is drawn together."""
