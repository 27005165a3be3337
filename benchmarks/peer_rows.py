"""What benchmarks/peers.py measures: the attacks of the public libraries, row by row, with equal budgets.

A row's key is the attack and the threat. Radii differ from net to net, so that none is broken everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saddlepoint.bench.case import CLASSES, Call, Goal, inf

NOTES = ["none of the libraries has the L-BFGS attack of Szegedy et al. (2014)"]
SEED = 0
FEW = 20  # images for a library that takes more than a minute for them


@dataclass(frozen=True)
class Row:
    """One comparison: the norm (None: no size), how many examples, the radius (None: as near as possible), the calls."""

    norm: float | None
    n: int
    radius: float | None
    budget: str
    calls: dict[str, Call]
    goal: Goal = "untargeted"  # or "targeted", at the next class; or "unlabelled", without the true labels


@dataclass(frozen=True)
class Case:
    """One net: its radii, and whether the attacks that see only decisions or scores are measured on it too."""

    linf: float
    l2: float
    l1: float
    universal: float
    queries: bool = False


CASES = {
    "digits": Case(linf=0.1, l2=1.5, l1=8, universal=0.2, queries=True),
    "fashion": Case(linf=0.03, l2=0.5, l1=3, universal=0.06),
    "fashion-robust": Case(linf=0.1, l2=1.5, l1=8, universal=0.25),
}


def call(attack: str, **parameters: Any) -> Call:
    return Call(attack, parameters)


def art(attack: str, n: int, **parameters: Any) -> Call:
    """A call of ART in one batch; left alone, it takes batches of 1 to 128."""
    return Call(attack, parameters | {"batch_size": n})


def one_step(case: Case) -> dict[str, Row]:
    """FGSM and BIM, in the l-inf ball."""
    eps, step = case.linf, 1 / 255
    fgsm = {
        "foolbox": call("LinfFastGradientAttack", random_start=False, epsilons=eps),
        "torchattacks": call("FGSM", eps=eps),
        "art": art("FastGradientMethod", 200, norm=inf, eps=eps, eps_step=eps),
    }
    bim = {
        "foolbox": call("LinfBasicIterativeAttack", abs_stepsize=step, steps=32, random_start=False, epsilons=eps),
        "torchattacks": call("BIM", eps=eps, alpha=step, steps=32),
        "art": art("BasicIterativeMethod", 200, eps=eps, eps_step=step, max_iter=32),
    }
    return {
        f"FGSM linf:{eps:g}": Row(inf, 200, eps, "1 step of the radius", fgsm),
        f"BIM linf:{eps:g}": Row(inf, 200, eps, "32 steps of 1/255, no random start", bim),
    }


def momentum(case: Case) -> dict[str, Row]:
    """The attacks made for transfer, on the net itself: ten steps of a tenth of the radius, as their papers have."""
    eps, step = case.linf, case.linf / 10
    steps = {"eps": eps, "alpha": step, "steps": 10}
    mi = {
        "foolbox": call("LinfMomentumIterativeFastGradientMethod", momentum=1.0, abs_stepsize=step, steps=10, epsilons=eps),
        "torchattacks": call("MIFGSM", **steps, decay=1.0),
        "art": art("MomentumIterativeMethod", 200, norm=inf, eps=eps, eps_step=step, decay=1.0, max_iter=10),
    }
    ni = {"torchattacks": call("NIFGSM", **steps, decay=1.0)}
    di = {"torchattacks": call("DIFGSM", **steps, decay=0.0, resize_rate=0.9, diversity_prob=0.5)}
    ti = call("TIFGSM", **steps, decay=0.0, len_kernel=15, nsig=3, diversity_prob=0.0)
    # torchattacks has the kernel for three channels only
    tis = {"torchattacks": ti, "torchattacks (as color)": Call(ti.attack, ti.parameters, color=True)}
    si = {"torchattacks": call("SINIFGSM", **steps, decay=1.0, m=5)}
    budget = f"10 steps of {step:g}"
    return {
        f"{name} linf:{eps:g}": Row(inf, 200, eps, f"{budget}, {what}", calls)
        for name, what, calls in (
            ("MIFGSM", "momentum 1", mi),
            ("NIFGSM", "momentum 1", ni),
            ("DIFGSM", "no momentum, resized to 90 to 100 % and padded with probability 0.5", di),
            ("TIFGSM", "no momentum, Gaussian kernel of 15 x 15 that ends at 3 sigma", tis),
            ("SIFGSM look-ahead", "momentum 1, five scales", si),
        )
    }


def fixed_radius(eps: float, norm: float) -> dict[str, Row]:
    """PGD and APGD in an l-inf or l-2 ball."""
    key = f"{'linf' if norm == inf else 'l2'}:{eps:g}"
    name = "Linf" if norm == inf else "L2"
    step = eps / 16 if norm == inf else 2.5 * eps / 40
    pgd = {
        "foolbox": call(f"{name}PGD", abs_stepsize=step, steps=40, random_start=True, epsilons=eps),
        "torchattacks": call("PGD" if norm == inf else "PGDL2", eps=eps, alpha=step, steps=40, random_start=True),
        "art": art("ProjectedGradientDescent", 200, norm=norm, eps=eps, eps_step=step, max_iter=40, num_random_init=1),
    }
    if norm == inf:
        pgd["adv-lib"] = call("pgd_linf", ε=eps, steps=40, random_init=True, loss_function="ce", absolute_step_size=step)
    ball = {"norm": norm, "eps": eps}
    loss, loss2 = ("ce", "cross_entropy") if norm == inf else ("dlr", "difference_logits_ratio")
    apgd = {
        "torchattacks": call("APGD", norm=name, eps=eps, steps=100, n_restarts=1, seed=SEED, loss=loss),
        "art": art(
            "AutoProjectedGradientDescent", 200, **ball, eps_step=2 * eps, max_iter=100, nb_random_init=1, loss_type=loss2
        ),
        "adv-lib": call("apgd", norm=norm, eps=eps, n_iter=100, n_restarts=1, loss_function=loss),
    }
    return {
        f"PGD {key}": Row(norm, 200, eps, f"40 steps of {step:g}, random start, cross entropy", pgd),
        f"APGD-{loss.upper()} {key}": Row(norm, 200, eps, f"100 steps, 1 start, {loss.upper()} loss", apgd),
    }


def more_of_pgd(case: Case) -> dict[str, Row]:
    """PGD on the difference of logits, APGD on nine targets, and APGD in the l-1 ball."""
    eps, step = case.linf, case.linf / 16
    cw = {"adv-lib": call("pgd_linf", ε=eps, steps=40, random_init=True, loss_function="dl", absolute_step_size=step)}
    apgd_t = {
        "torchattacks": call("APGDT", norm="Linf", eps=eps, steps=100, n_restarts=1, seed=SEED, n_classes=CLASSES),
        "adv-lib": call("apgd_targeted", norm=inf, eps=eps, n_iter=100, n_restarts=1, num_targets=CLASSES - 1),
    }
    r = case.l1
    parameters = {"norm": 1, "eps": r, "eps_step": 2 * r, "max_iter": 100, "nb_random_init": 1, "loss_type": "cross_entropy"}
    apgd_1 = {
        "adv-lib": call("apgd", norm=1, eps=r, n_iter=100, n_restarts=1, loss_function="ce"),
        "art": art("AutoProjectedGradientDescent", 200, **parameters),
    }
    return {
        f"PGD-CW linf:{eps:g}": Row(inf, 200, eps, f"40 steps of {step:g}, random start, difference of logits", cw),
        f"APGD-T linf:{eps:g}": Row(inf, 200, eps, "9 targets x 100 steps, 1 start each, targeted DLR loss", apgd_t),
        f"APGD-CE l1:{r:g}": Row(1, 200, r, "100 steps, 1 start, CE loss", apgd_1),
    }


def carlini_wagner(case: Case) -> dict[str, Row]:
    """Their attacks in three norms. ART takes minutes for a few images, so it has rows of its own."""

    def cw(steps: int) -> dict[str, Call]:
        foolbox = call("L2CarliniWagnerAttack", binary_search_steps=9, steps=steps, stepsize=0.01)
        adv_lib = call("carlini_wagner_l2", binary_search_steps=9, max_iterations=steps, learning_rate=0.01)
        return {"foolbox": foolbox, "adv-lib": adv_lib}

    long = cw(1000) | {"torchattacks": call("CW", c=1, kappa=0, steps=1000, lr=0.01)}
    linf = {"adv-lib": call("carlini_wagner_linf", max_iterations=100, learning_rate=0.01)}
    art_l2 = {"art": art("CarliniL2Method", FEW, binary_search_steps=9, max_iter=100, learning_rate=0.01)}
    art_linf = {"art": art("CarliniLInfMethod", FEW, max_iter=100, learning_rate=0.01)}
    art_l0 = {"art": art("CarliniL0Method", FEW, binary_search_steps=10, max_iter=10, learning_rate=0.01)}
    short, thresholds = "9 constants x 100 Adam steps, lr 0.01", "steps for each threshold and constant"
    return {
        "CarliniWagner l2": Row(2, 200, None, "9 constants (torchattacks: one) x 1000 Adam steps, lr 0.01", long),
        "CarliniWagner l2 9x100": Row(2, 200, None, short, cw(100)),
        "CarliniWagner l2 few": Row(2, FEW, None, short, art_l2),
        "CarliniWagner linf": Row(inf, 200, None, f"100 Adam {thresholds}", linf),
        "CarliniWagner linf few": Row(inf, FEW, None, f"100 L-BFGS-B {thresholds}", art_linf),
        "CarliniWagner l0 few": Row(0, FEW, None, "10 constants x 10 Adam steps for each set of features", art_l0),
    }


def deepfool(_: Case) -> dict[str, Row]:
    """DeepFool and SparseFool."""
    l2 = {
        "foolbox": call("L2DeepFoolAttack", steps=50, candidates=CLASSES, overshoot=0.02),
        "torchattacks": call("DeepFool", steps=50, overshoot=0.02),
        "art": art("DeepFool", 200, max_iter=50, epsilon=0.02, nb_grads=CLASSES),
        "adv-lib": call("df", steps=50, overshoot=0.02, norm=2),
    }
    linf = {
        "foolbox": call("LinfDeepFoolAttack", steps=50, candidates=CLASSES, overshoot=0.02),
        "adv-lib": call("df", steps=50, overshoot=0.02, norm=inf),
    }
    sparse = {"torchattacks": call("SparseFool", steps=20, lam=3, overshoot=0.02)}
    return {
        "DeepFool l2": Row(2, 200, None, "50 steps, overshoot 0.02", l2),
        "DeepFool linf": Row(inf, 200, None, "50 steps, overshoot 0.02", linf),
        "SparseFool l0": Row(0, 200, None, "20 steps, lambda 3, overshoot 0.02", sparse),
    }


def saliency(_: Case) -> dict[str, Row]:
    """The saliency map attack."""
    calls = {
        "torchattacks": call("JSMA", theta=1.0, gamma=0.145),
        "art": art("SaliencyMapMethod", 200, theta=1.0, gamma=0.145),
    }
    pixels = "pixels set to 1, at most 14.5 % of them"
    targeted = Row(0, 200, None, f"targeted at the next class; {pixels}", calls, "targeted")
    untargeted = Row(0, 200, None, f"targets of the library's choice; {pixels}", {"art": calls["art"]}, "unlabelled")
    return {"JSMA l0": targeted, "JSMA untargeted l0": untargeted}


def fast_minimum_norm(_: Case) -> dict[str, Row]:
    """DDN, and FMN in four norms."""
    ddn = {"foolbox": call("DDNAttack", steps=100), "adv-lib": call("ddn", steps=100, levels=None)}
    rows = {"DDN l2": Row(2, 200, None, "100 steps, no quantisation", ddn)}
    for norm in (0, 1, 2, inf):
        calls = {
            "foolbox": call(f"{'Linf' if norm == inf else f'L{norm}'}FMNAttack", steps=100),
            "adv-lib": call("fmn", norm=norm, steps=100),
        }
        rows[f"FMN {label(norm)}"] = Row(norm, 200, None, "100 steps", calls)
    return rows


def boundary_projections(_: Case) -> dict[str, Row]:
    """FAB on the nearest of all classes in three norms, and on nine targets one after the other in l-inf."""
    rows = {}
    for norm in (1, 2, inf):
        calls = {
            "torchattacks": call("FAB", norm=label(norm).capitalize(), eps=1e3, steps=100, n_restarts=1, n_classes=CLASSES),
            "adv-lib": call("fab", norm=norm, n_iter=100),
        }
        rows[f"FAB {label(norm)}"] = Row(norm, 200, None, "100 steps from the clean image", calls)
    targets = {"eps": 1e3, "steps": 100, "n_restarts": 1, "multi_targeted": True, "n_classes": CLASSES}
    calls = {
        "torchattacks": call("FAB", norm="Linf", **targets),
        "adv-lib": call("fab", norm=inf, n_iter=100, restarts=CLASSES - 1, targeted_restarts=True),
    }
    rows["FAB-T linf"] = Row(inf, 200, None, "9 targets x 100 steps from the clean image", calls)
    return rows


def augmented_lagrangian(_: Case) -> dict[str, Row]:
    """ALMA in two norms."""
    return {
        f"ALMA {norm}": Row(
            index, 200, None, "100 steps, penalty averaged with 0.5",
            {"adv-lib": call("alma", distance=norm, num_steps=100, α=0.5)},
        )
        for index, norm in ((1, "l1"), (2, "l2"))
    }  # fmt: skip


def elastic_net(_: Case) -> dict[str, Row]:
    """EAD, judged by l-1; torchattacks decides between iterates by the rule in the attack's name."""
    beta = 0.01
    search = {"binary_search_steps": 9, "initial_const": 1e-3}
    calls = {
        "foolbox": call("EADAttack", **search, steps=100, initial_stepsize=0.01, regularization=beta, decision_rule="L1"),
        "torchattacks": call("EADL1", lr=0.01, **search, max_iterations=100, beta=beta),
        "torchattacks (EADEN)": call("EADEN", lr=0.01, **search, max_iterations=100, beta=beta),
    }
    slow = {"art": art("ElasticNet", FEW, **search, learning_rate=0.01, max_iter=100, beta=beta, decision_rule="L1")}
    budget = "9 constants x 100 steps of 0.01, l-1 weight 0.01, l-1 rule"
    return {"EAD l1": Row(1, 200, None, budget, calls), "EAD l1 few": Row(1, FEW, None, budget, slow)}


def sparse(_: Case) -> dict[str, Row]:
    """A gradient attack that changes few pixels."""
    return {"SigmaZero l0": Row(0, 200, None, "100 steps", {"adv-lib": call("sigma_zero", num_steps=100)})}


def brendel_bethge(_: Case) -> dict[str, Row]:
    """The walk along the boundary in four norms, from a blend with uniform noise."""
    rows = {}
    for norm in (0, 1, 2, inf):
        name = f"{'Linfinity' if norm == inf else f'L{norm}'}BrendelBethgeAttack"
        budget = "200 steps from the first adversarial blend with uniform noise"
        rows[f"BrendelBethge {label(norm)}"] = Row(norm, 200, None, budget, {"foolbox": call(name, steps=200)})
    return rows


def wholes(case: Case) -> dict[str, Row]:
    """AutoAttack, rotations and translations, and one perturbation for all."""
    eps = case.linf
    auto = {
        "torchattacks": call("AutoAttack", norm="Linf", eps=eps, version="standard", n_classes=CLASSES, seed=SEED),
        "art": art("AutoAttack", 200, norm=inf, eps=eps, eps_step=2 * eps),
    }
    grid = {"num_translations": 5, "max_rotation": 30, "num_rotations": 31}
    spatial = {
        "foolbox": call("SpatialAttack", max_translation=3, **grid, grid_search=True),
        "art": call("SpatialTransformation", max_translation=100 * 3 / 28, **grid),
    }
    inner = {"max_iter": 50, "nb_grads": CLASSES, "batch_size": 1, "verbose": False}
    parameters = {"attacker": "deepfool", "attacker_params": inner, "delta": 0.0, "max_iter": 3, "norm": inf}
    uap = {"art": art("UniversalPerturbation", 200, **parameters, eps=case.universal)}
    own = (
        "each library's own: torchattacks has APGD-CE, APGD-T and FAB-T of 10 steps (not 100) and Square of 5000 queries; "
        "ART has APGD-CE and APGD-DLR of 5 x 100 steps, DeepFool, and Square of 5 x 5000 queries"
    )
    turns = (
        "grid of 5 x 5 shifts up to 3 pixels and 31 angles up to 30 degrees; ART applies one transformation to all images, "
        "and its x shifts are a share of the number of channels"
    )
    share = "3 passes over the 200 images, DeepFool of 50 steps; success is the share of images whose class changes"
    return {
        f"AutoAttack linf:{eps:g}": Row(inf, 200, eps, own, auto),
        "GridSearch spatial:30,3": Row(None, 200, None, turns, spatial),
        f"UAP linf:{case.universal:g}": Row(inf, 200, case.universal, share, uap),
    }


def queries(case: Case) -> dict[str, Row]:
    """The attacks that see only decisions or scores, on few examples."""
    if not case.queries:
        return {}
    rows = {}
    for eps, norm, name in ((case.linf, inf, "Linf"), (case.l2, 2, "L2")):
        square = {
            "torchattacks": call("Square", norm=name, eps=eps, n_queries=1000, n_restarts=1, p_init=0.8, seed=SEED),
            "art": art("SquareAttack", 200, norm=norm, eps=eps, max_iter=1000, p_init=0.8, nb_restarts=1),
        }
        rows[f"Square {label(norm)}:{eps:g}"] = Row(norm, 200, eps, "1000 proposals, 1 start", square)
    for name, norm in (("l2", 2), ("linf", inf)):
        hop = {
            "foolbox": call("HopSkipJumpAttack", steps=20, constraint=name),
            # foolbox scales a gradient estimate by the norm over the whole batch
            "foolbox (one by one)": Call("HopSkipJumpAttack", {"steps": 20, "constraint": name}, batch=1),
            "art": art("HopSkipJump", 20, norm=norm, max_iter=20, max_eval=10000, init_eval=100, init_size=100),
        }
        rows[f"HopSkipJump {name}"] = Row(norm, 20, None, "20 iterations, 100 to 10000 evaluations per gradient", hop)
    for pixels in (1, 3):
        evolution = {
            "torchattacks": call("OnePixel", pixels=pixels, steps=75, popsize=400),
            "art": call("PixelAttack", th=pixels, es=1, max_iter=75),
        }
        budget = f"75 generations, {400 // (3 * pixels) * 3 * pixels} candidates (400 rounded down by the libraries)"
        rows[f"OnePixel l0:{pixels}"] = Row(0, 20, pixels, budget, evolution)
    return rows


def label(norm: float) -> str:
    return "linf" if norm == inf else f"l{norm:g}"


GROUPS: tuple[Callable[[Case], dict[str, Row]], ...] = (
    one_step,
    momentum,
    lambda case: fixed_radius(case.linf, inf),
    lambda case: fixed_radius(case.l2, 2),
    more_of_pgd,
    deepfool,
    fast_minimum_norm,
    boundary_projections,
    augmented_lagrangian,
    elastic_net,
    carlini_wagner,
    saliency,
    sparse,
    brendel_bethge,
    wholes,
    queries,
)


def table(name: str) -> dict[str, Row]:
    """All rows of a case."""
    return {key: row for group in GROUPS for key, row in group(CASES[name]).items()}
