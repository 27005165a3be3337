"""Attacks in a set of a given size: balls, few pixels."""

from functools import partial
from typing import Any

from saddlepoint import attacks as A
from saddlepoint.bench import floors
from saddlepoint.bench.case import CLASSES, Bar, Call, Case, inf
from saddlepoint.bench.cases.calls import ONCE, art, call


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
