"""Attacks that seek the nearest adversarial input."""

from functools import partial

from saddlepoint import attacks as A
from saddlepoint.bench import floors
from saddlepoint.bench.case import CLASSES, Bar, Case
from saddlepoint.bench.cases.calls import ONCE, art, call


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
        ours=A.CarliniWagner(start=A.FMN(steps=40)),
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
        ours=A.FMN(gamma=0.1),
        threat="l2",
        calls=fmn | {"adv-lib (DDN)": ddn["adv-lib"]},
        **both,
    )
    return first, second


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
            budget="20 iterations, 100 to 10000 evaluations per gradient; ours from 99, to ask no more than cleverhans",
            ours=A.HopSkipJump(steps=20, first_evaluations=99),
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
