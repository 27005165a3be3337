"""The cases: every bar as data, with the call of each library that has the attack.

Budgets are those of the papers. The committed networks have 200 images each, where the bars were set with up to 500. Where a
library takes minutes, a case has fewer images, or that library plays one round: see `Case.rounds`.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from saddlepoint import attacks as A
from saddlepoint.bench import floors
from saddlepoint.bench.case import CLASSES, Bar, Call, Case, inf
from saddlepoint.models.train import Trainer
from saddlepoint.threats import Linf

ONCE = {"art": 1, "torchattacks": 1}


def call(attack: str, **parameters: Any) -> Call:
    return Call(attack, parameters)


def art(attack: str, n: int, **parameters: Any) -> Call:
    """A call of ART in one batch; left alone, it takes batches of 1 to 128."""
    return Call(attack, parameters | {"batch_size": n})


def pgd(name: str, about: str, bars: tuple[Bar, ...], net: str, eps: float, n: int = 200) -> Case:
    """PGD of 40 steps in an l-inf ball."""
    step = eps / 16
    calls = {
        "foolbox": call("LinfPGD", abs_stepsize=step, steps=40, random_start=True, epsilons=eps),
        "torchattacks": call("PGD", eps=eps, alpha=step, steps=40, random_start=True),
        "art": art("ProjectedGradientDescent", n, norm=inf, eps=eps, eps_step=step, max_iter=40, num_random_init=1),
        "adv-lib": call("pgd_linf", ε=eps, steps=40, random_init=True, loss_function="ce", absolute_step_size=step),
        "cleverhans": call(
            "projected_gradient_descent", eps=eps, eps_iter=step, nb_iter=40, norm=inf, clip_min=0, clip_max=1
        ),
    }
    return Case(
        name=name,
        about=about,
        group="PGD",
        bars=bars,
        net=net,
        n=n,
        norm=inf,
        radius=eps,
        budget=f"40 steps of {step:g}, random start, cross entropy",
        ours=A.PGD(step_size=step),
        threat=f"linf:{eps:g}",
        calls=calls,
        floor=partial(floors.pgd, eps=eps, step_size=step, steps=40),
    )


def apgd(net: str, factor: float) -> Case:
    """APGD-CE of 100 steps."""
    ball = {"norm": inf, "eps": 0.1}
    calls = {
        "torchattacks": call("APGD", norm="Linf", eps=0.1, steps=100, n_restarts=1, loss="ce"),
        "art": art(
            "AutoProjectedGradientDescent",
            200,
            **ball,
            eps_step=0.2,
            max_iter=100,
            nb_random_init=1,
            loss_type="cross_entropy",
        ),
        "adv-lib": call("apgd", **ball, n_iter=100, n_restarts=1, loss_function="ce"),
    }
    calls["autoattack"] = Call("AutoAttack", custom("apgd-ce", 0.1) | {"apgd.n_restarts": 1})
    bars = Bar(4, "times", factor), Bar(4, "success", -0.005)
    return Case(
        name=f"apgd-{net}",
        about="APGD on the cross entropy",
        group="APGD, FAB, AutoAttack",
        bars=bars,
        net=net,
        n=200,
        norm=inf,
        radius=0.1,
        budget="100 steps, 1 start, cross entropy",
        ours=A.APGD(),
        threat="linf:0.1",
        calls=calls,
    )


def custom(part: str, eps: float) -> dict[str, Any]:
    """One part of AutoAttack."""
    return {"norm": "Linf", "eps": eps, "version": "custom", "attacks": [part]}


def apgd_t(n: int, factor: float) -> Case:
    """APGD toward nine targets, on many images and on few."""
    calls = {
        "torchattacks": call("APGDT", norm="Linf", eps=0.1, steps=100, n_restarts=1, n_classes=CLASSES),
        "adv-lib": call("apgd_targeted", norm=inf, eps=0.1, n_iter=100, n_restarts=1, num_targets=CLASSES - 1),
        "autoattack": Call("AutoAttack", custom("apgd-t", 0.1) | {"apgd_targeted.n_target_classes": CLASSES - 1}),
    }
    return Case(
        name=f"apgd-t-{n}",
        about=f"APGD toward nine targets, {n} images",
        group="APGD, FAB, AutoAttack",
        bars=(Bar(5, "times", factor), Bar(5, "success", 0.0)),
        net="fashion-robust",
        n=n,
        norm=inf,
        radius=0.1,
        budget="9 targets x 100 steps, 1 start each, targeted DLR loss",
        ours=A.APGD(targets=9),
        threat="linf:0.1",
        calls=calls,
    )


def fab_t() -> Case:
    """FAB toward nine targets, inside a radius."""
    targets = {"steps": 100, "n_restarts": 1, "multi_targeted": True, "n_classes": CLASSES}
    calls = {
        "torchattacks": call("FAB", norm="Linf", eps=0.1, **targets),
        "adv-lib": call("fab", norm=inf, n_iter=100, restarts=CLASSES - 1, targeted_restarts=True),
        "autoattack": Call("AutoAttack", custom("fab-t", 0.1) | {"fab.n_target_classes": CLASSES - 1}),
    }
    return Case(
        name="fab-t",
        about="FAB toward nine targets",
        group="APGD, FAB, AutoAttack",
        bars=(Bar(6, "times", 1.65), Bar(6, "success", 0.0)),
        net="fashion-robust",
        n=50,
        norm=inf,
        radius=0.1,
        budget="9 targets x 100 steps from the clean image",
        ours=A.FAB(targets=9),
        threat="linf:0.1",
        calls=calls,
    )


def square(name: str, net: str, n: int, factor: float) -> Case:
    """Square of 1000 queries."""
    calls = {
        "torchattacks": call("Square", norm="Linf", eps=0.1, n_queries=1000, n_restarts=1, p_init=0.8),
        "art": art("SquareAttack", n, norm=inf, eps=0.1, max_iter=1000, p_init=0.8, nb_restarts=1),
        "autoattack": Call("AutoAttack", custom("square", 0.1) | {"square.n_queries": 1000}),
    }
    return Case(
        name=name,
        about=f"Square, {n} images",
        group="queries",
        bars=(Bar(7, "times", factor), Bar(7, "success", 0.0, "autoattack")),
        net=net,
        n=n,
        norm=inf,
        radius=0.1,
        budget="1000 proposals, 1 start",
        ours=A.Square(steps=1000),
        threat="linf:0.1",
        calls=calls,
        rounds={"art": 1},
    )


def autoattack(net: str, eps: float, n: int, factor: float, *more: Bar) -> Case:
    """The standard ensemble."""
    calls = {
        "autoattack": call("AutoAttack", norm="Linf", eps=eps, version="standard"),
        "torchattacks": call("AutoAttack", norm="Linf", eps=eps, version="standard", n_classes=CLASSES),
        "art": art("AutoAttack", n, norm=inf, eps=eps, eps_step=2 * eps),
    }
    budget = "standard; torchattacks' APGD and FAB have 10 steps, not 100; ART has 5 starts of everything"
    bars = Bar(8, "times", factor, "autoattack"), Bar(8, "success", 0.0), *more
    return Case(
        name=f"autoattack-{net}",
        about="AutoAttack",
        group="APGD, FAB, AutoAttack",
        bars=bars,
        net=net,
        n=n,
        norm=inf,
        radius=eps,
        budget=budget,
        ours=A.AutoAttack(),
        threat=f"linf:{eps:g}",
        calls=calls,
        rounds={"art": 1},
    )


def carlini_wagner(steps: int, n: int, factor: float) -> Case:
    """The l-2 attack of Carlini and Wagner, at short and at long budgets."""
    search = {"binary_search_steps": 9}
    calls = {
        "foolbox": call("L2CarliniWagnerAttack", **search, steps=steps, stepsize=0.01),
        "adv-lib": call("carlini_wagner_l2", **search, max_iterations=steps, learning_rate=0.01),
        "cleverhans": call("carlini_wagner_l2", n_classes=CLASSES, **search, max_iterations=steps, lr=0.01),
        "torchattacks": call("CW", c=1, kappa=0, steps=steps, lr=0.01),
    }
    if steps <= 100:
        calls["art"] = art("CarliniL2Method", n, **search, max_iter=steps, learning_rate=0.01)
    bars = Bar(9, "times", factor), Bar(9, "success", 0.0), Bar(9, "median", 1.0)
    return Case(
        name=f"cw-9x{steps}",
        about=f"Carlini and Wagner, l-2, theirs with 9 x {steps} steps",
        group="minimum norm",
        bars=bars,
        net="digits",
        n=n,
        norm=2,
        radius=None,
        budget=f"9 constants (torchattacks: one) x {steps} Adam steps of 0.01; ours as it comes",
        ours=A.CarliniWagner(),
        threat="l2",
        calls=calls,
        rounds={label: 1 for label in calls if steps > 100 or label in ("art", "cleverhans")},
    )


def deepfool(net: str) -> Case:
    """DeepFool in l-2."""
    calls = {
        "foolbox": call("L2DeepFoolAttack", steps=50, candidates=CLASSES, overshoot=0.02),
        "torchattacks": call("DeepFool", steps=50, overshoot=0.02),
        "art": art("DeepFool", 200, max_iter=50, epsilon=0.02, nb_grads=CLASSES),
        "adv-lib": call("df", steps=50, overshoot=0.02, norm=2),
    }
    bars = Bar(10, "times", 1.7, "adv-lib"), Bar(10, "times", 5, "foolbox"), Bar(10, "success", 0.0), Bar(10, "median", 1.01)
    return Case(
        name=f"deepfool-{net}",
        about="DeepFool, l-2",
        group="minimum norm",
        bars=bars,
        net=net,
        n=200,
        norm=2,
        radius=None,
        budget="50 steps, overshoot 0.02",
        ours=A.DeepFool(),
        threat="l2",
        calls=calls,
        rounds=ONCE,
    )


def jsma() -> tuple[Case, Case]:
    """The saliency map attack by the two rules that libraries have."""
    bars = Bar(11, "success", 0.0), Bar(11, "median", 1.0)
    share = "targeted at the next class; pixels set to 1, at most 14.5 % of them"
    theirs = {"theta": 1.0, "gamma": 0.145}
    by_art = Case(
        name="jsma",
        about="JSMA as it comes, beside ART's rule",
        group="minimum norm",
        bars=(Bar(11, "times", 4.5, "art"), *bars),
        net="digits",
        n=20,
        norm=0,
        radius=None,
        budget=share,
        ours=A.JSMA(),
        threat="l0",
        calls={"art": art("SaliencyMapMethod", 20, **theirs)},
        goal="targeted",
    )
    paper = Case(
        name="jsma-pairs",
        about="JSMA by the paper's rule",
        group="minimum norm",
        bars=(Bar(11, "times", 35, "torchattacks"), *bars),
        net="digits",
        n=20,
        norm=0,
        radius=None,
        budget=share,
        ours=A.JSMA(others="sum", weighted=False, reuse=1),
        threat="l0",
        calls={"torchattacks": call("JSMA", **theirs)},
        goal="targeted",
    )
    return by_art, paper


def ead() -> Case:
    """Elastic net in l-1."""
    search = {"binary_search_steps": 9, "initial_const": 1e-3}
    calls = {
        "foolbox": call("EADAttack", **search, steps=100, initial_stepsize=0.01, regularization=0.01, decision_rule="L1"),
        "torchattacks": call("EADL1", lr=0.01, **search, max_iterations=100, beta=0.01),
        "art": art("ElasticNet", 20, **search, learning_rate=0.01, max_iter=100, beta=0.01, decision_rule="L1"),
    }
    bars = Bar(12, "times", 45, "art"), Bar(12, "success", 0.0), Bar(12, "median", 1.0)
    return Case(
        name="ead",
        about="EAD, l-1",
        group="minimum norm",
        bars=bars,
        net="digits",
        n=20,
        norm=1,
        radius=None,
        budget="9 constants x 100 steps of 0.01, l-1 weight 0.01, l-1 rule; ours as it comes",
        ours=A.EAD(),
        threat="l1",
        calls=calls,
        rounds={"art": 1},
    )


def fast_minimum_norm() -> tuple[Case, Case]:
    """DDN and FMN, which are at the floor elsewhere, too."""
    ddn = {"foolbox": call("DDNAttack", steps=100), "adv-lib": call("ddn", steps=100, levels=None)}
    fmn = {"foolbox": call("L2FMNAttack", steps=100), "adv-lib": call("fmn", norm=2, steps=100)}
    both = {"floor": partial(floors.ddn, steps=100)}
    first = Case(
        name="ddn",
        about="DDN, l-2",
        group="minimum norm",
        bars=(Bar(13, "floor", 1.05), Bar(13, "success", 0.0)),
        net="digits",
        n=200,
        norm=2,
        radius=None,
        budget="100 steps, no quantization",
        ours=A.DDN(),
        threat="l2",
        calls=ddn,
        **both,
    )
    second = Case(
        name="fmn",
        about="FMN, l-2, beside DDN",
        group="minimum norm",
        bars=(Bar(13, "floor", 1.05), Bar(13, "median", 1.0)),
        net="digits",
        n=200,
        norm=2,
        radius=None,
        budget="100 steps; by hand and in brackets it is DDN",
        ours=A.FMN(),
        threat="l2",
        calls=fmn | {"adv-lib (DDN)": ddn["adv-lib"]},
        **both,
    )
    return first, second


def pixels() -> tuple[Case, ...]:
    """Few pixels: exhaustive or greedy search, and evolution at equal cost."""

    def of(name: str, about: str, count: int, factor: float, ours: Any) -> Case:
        calls = {
            "torchattacks": call("OnePixel", pixels=count, steps=75, popsize=400),
            "art": call("PixelAttack", th=count, es=1, max_iter=75),
        }
        bars = Bar(14, "times", factor, "torchattacks"), Bar(14, "success", 0.0)
        budget = f"75 generations, {400 // (3 * count) * 3 * count} candidates (400 rounded down by the libraries)"
        return Case(
            name=name,
            about=about,
            group="queries",
            bars=bars,
            net="digits",
            n=10,
            norm=0,
            radius=count,
            budget=f"{budget}; ours as it comes",
            ours=ours,
            threat=f"l0:{count}",
            calls=calls,
            rounds=ONCE,
        )

    return (
        of("one-pixel", "one pixel, exhaustively", 1, 30, A.CornerSearch()),
        of("one-pixel-evolution", "one pixel, by evolution like theirs", 1, 2.5, A.OnePixel(generations=75)),
        of("three-pixels", "three pixels, greedily", 3, 10, A.CornerSearch()),
    )


def decisions() -> tuple[Case, ...]:
    """Attacks that see answers alone."""
    hop = {
        "foolbox": call("HopSkipJumpAttack", steps=20, constraint="l2"),
        "art": art("HopSkipJump", 20, norm=2, max_iter=20, max_eval=10000, init_eval=100, init_size=100),
        "cleverhans": call("hop_skip_jump_attack", norm=2, num_iterations=20, verbose=False),
    }
    bars = Bar(15, "times", 2), Bar(15, "median", 1.03, "cleverhans"), Bar(15, "forwards", 1.0, "cleverhans")
    found = [
        Case(
            name="hop-skip-jump",
            about="HopSkipJump, l-2",
            group="queries",
            bars=bars,
            net="digits",
            n=20,
            norm=2,
            radius=None,
            budget="20 iterations, 100 to 10000 evaluations per gradient",
            ours=A.HopSkipJump(steps=20),
            threat="l2",
            calls=hop,
            rounds={"art": 1},
        )
    ]
    for n, factor in ((10, 4.5), (30, 2.5)):
        walk = {"foolbox": call("BoundaryAttack", steps=5000)}
        found.append(
            Case(
                name=f"boundary-{n}",
                about=f"Boundary, l-2, {n} images",
                group="queries",
                bars=(Bar(16, "times", factor, "foolbox"), Bar(16, "median", 1.03, "foolbox")),
                net="digits",
                n=n,
                norm=2,
                radius=None,
                budget="5000 candidates",
                ours=A.Boundary(steps=500),
                threat="l2",
                calls=walk,
            )
        )
    return tuple(found)


def universal() -> Case:
    """One change for all images."""
    inner = {"max_iter": 50, "nb_grads": CLASSES, "batch_size": 1, "verbose": False}
    learned = {"attacker": "deepfool", "attacker_params": inner, "delta": 0.0, "max_iter": 3, "norm": inf, "eps": 0.2}
    return Case(
        name="universal",
        about="one change for all images",
        group="others",
        bars=(Bar(18, "times", 100, "art"), Bar(18, "success", 0.0)),
        net="digits",
        n=200,
        norm=inf,
        radius=0.2,
        budget="ours 10 passes over the images, ART 3 passes of DeepFool of 50 steps",
        ours=A.UniversalPGD(),
        threat="linf:0.2",
        calls={"art": art("UniversalPerturbation", 200, **learned)},
        rounds={"art": 1},
    )


def spatial(net: str) -> Case:
    """Rotations and shifts."""
    grid = {"max_translation": 3, "max_rotation": 30, "num_translations": 5, "num_rotations": 5, "grid_search": True}
    bars = Bar(18, "times", 12, "foolbox"), Bar(18, "success", 0.0)
    return Case(
        name=f"spatial-{net}",
        about="rotations and shifts",
        group="others",
        bars=bars,
        net=net,
        n=200,
        norm=None,
        radius=None,
        budget="grid of 5 x 5 shifts up to 3 pixels and 5 angles up to 30 degrees",
        ours=A.GridSearch(points=(5, 5, 5)),
        threat="spatial:30,3",
        calls={"foolbox": call("SpatialAttack", **grid)},
    )


def training() -> Case:
    """The training of Madry et al. (2018), for one pass over the data."""
    inner_pgd = {"steps": 7, "step_size": 0.025}
    return Case(
        name="training",
        about="adversarial training, one pass over 2000 digits; success is the accuracy on 1000 others",
        group="others",
        bars=(Bar(19, "floor", 1.03), Bar(19, "times", 1.9, "art trainer")),
        net="untrained",
        n=2000,
        norm=None,
        radius=None,
        budget="batches of 128, 7 steps of PGD at 0.1, Adam at 0.002",
        ours=Trainer(epochs=1, batch=128, attack=A.PGD(loss="cross_entropy", **inner_pgd), threat=Linf(0.1)),
        threat="linf:0.1",
        calls={
            "art trainer": call(
                "AdversarialTrainerMadryPGD",
                nb_epochs=1,
                batch_size=128,
                eps=0.1,
                eps_step=0.025,
                max_iter=7,
                num_random_init=1,
                learning_rate=2e-3,
            )
        },
        floor=partial(floors.madry, eps=0.1, batch=128, learning_rate=2e-3, **inner_pgd),
    )


def free_training() -> Case:
    """Free training, for as many images, beside the training of Madry et al. by others."""
    return replace(
        training(),
        name="training-free",
        about="free adversarial training, one pass over 2000 digits with 4 replays, beside seven steps of PGD",
        bars=(Bar(19, "times", 2.7, "art trainer"),),
        budget="batches of 128; ours 4 replays at 0.1, theirs 7 steps of PGD; Adam at 0.002",
        ours=Trainer(epochs=1, batch=128, threat=Linf(0.1), replays=4),
        floor=None,
    )


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
)
CASES = {case.name: case for case in EVERY}
"""All cases by name, in the order in which they are measured."""
GROUPS = tuple(dict.fromkeys(case.group for case in EVERY))
"""What is drawn together."""
