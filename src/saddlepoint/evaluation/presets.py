"""Which attacks an audit plays, by threat, by how much time there is, and by what the model lets them see."""

from saddlepoint import attacks as a
from saddlepoint.core.attack import Attack
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Access
from saddlepoint.core.threat import Threat
from saddlepoint.evaluation.spec import Task, task
from saddlepoint.threats import Ball

PRESETS = ("quick", "standard", "thorough")
CLASSES_IN_MATRIX = 20


def preset_tasks(
    preset: str,
    threat: Threat,
    *,
    classes: int,
    examples: int,
    access: Access,
    widest: float,
    attacks: tuple[Attack, ...] = (),
) -> tuple[Task, ...]:
    """The tasks of a preset: those that decide robust accuracy, a curve over radii, checks, source-target matrices.

    Args:
        preset: "quick", "standard" or "thorough".
        threat: the main threat, a ball.
        classes: of the model.
        examples: how many there are.
        access: what the models let attacks see; attacks that need more are left out.
        widest: a radius with which any input can be reached.
        attacks: instead of the preset's own.

    Raises:
        InputError: an unknown preset, a threat without a radius, or nothing left to play.
    """
    if preset not in PRESETS:
        raise InputError(f"The preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    kind, eps = type(threat).__name__.lower(), threat.reach
    if not 0 < eps < float("inf"):
        raise InputError(f"An audit needs a radius above zero; got {threat!r}. Write {kind}:0.3, say.")
    if not isinstance(threat, Ball):
        raise InputError(f"An audit plays in a ball; got {kind}. Use `saddlepoint attack`, or saddlepoint.attack, there.")
    rank = PRESETS.index(preset)
    here = f"{kind}:{eps:.6g}"
    chosen = [m for m in attacks or main_attacks(kind, rank, classes) if m.access <= access]
    if not chosen:
        raise InputError(
            f"No attack of the {preset} preset for {kind} can do with {access.name.lower()}. Name one with --attack."
        )
    some = min(examples, 20 if rank == 0 else 50)
    tasks = [task(m, here, examples=some if m.access is Access.LABELS and access > m.access else None) for m in chosen]
    tracer = {Access.GRADIENTS: a.PGD(steps=(20, 40, 100)[rank]), Access.SCORES: a.Square(steps=(100, 300, 1000)[rank])}.get(
        access
    )
    if tracer is not None and isinstance(threat, tracer.threats):
        tasks += [task(tracer, f"{kind}:{radius:.6g}", "curve") for radius in radii(kind, eps)]
    tasks += checking_tasks(threat, kind, rank, examples, access, widest)
    if access is Access.GRADIENTS and classes <= CLASSES_IN_MATRIX:
        some = min(examples, (100, 200, 500)[rank])
        tasks += [task(a.PGD(steps=20), here, "pairs", target=t, examples=some) for t in range(classes)]
    return tuple(tasks)


def checking_tasks(threat: Threat, kind: str, rank: int, examples: int, access: Access, widest: float) -> list[Task]:
    """What is played to know what the attacks are worth, and what is played where that turns out to be too little."""
    here, some = f"{kind}:{threat.reach:.6g}", min(100, max(20, examples // 2))
    tasks = [task(a.RandomSearch(candidates=(30, 100, 1000)[rank]), here, "noise", examples=some)]
    if access is Access.GRADIENTS and isinstance(threat, a.PGD.threats):
        tasks += [
            task(a.PGD(steps=20, loss="textbook"), here, "naive", examples=some),
            task(a.PGD(steps=(80, 160, 400)[rank], loss="margin"), here, "doubled", examples=some),
            task(a.PGD(loss="margin"), f"{kind}:{widest:.6g}", "unbounded", examples=min(50, some)),
            task(a.PGD(steps=10, loss="margin"), here, "transfer", examples=some),
            task(a.PGD(steps=100, loss="margin"), here, "guided"),
            task(a.Restarts(attack=a.PGD(steps=100, loss="margin"), restarts=(3, 5, 10)[rank]), here, "rescue"),
        ]
    if access >= Access.SCORES and isinstance(threat, a.Square.threats):
        tasks.append(task(a.Square(steps=(2000, 5000, 10000)[rank]), here, "rescue"))
    if kind == "linf":
        tasks.append(task(a.RayS(steps=(2000, 5000, 10000)[rank]), here, "rescue"))
    if kind == "l2":
        tasks.append(task(a.SurFree(steps=(300, 700, 1500)[rank]), here, "rescue"))
    return tasks


def main_attacks(kind: str, rank: int, classes: int) -> list[Attack]:
    """The attacks that decide, cheap ones first."""
    queries = (500, 2000, 5000)[rank]
    gradient: list[Attack] = [a.FGSM(), a.PGD(), a.APGD()]
    gradient += [a.APGD(targets=max(1, min((3, 5, 9)[rank], classes - 1)), steps=(50, 100, 100)[rank])]
    if rank == 2:
        gradient += [a.Restarts(attack=a.PGD(steps=100), restarts=5), a.APGD(loss="dlr")]
    walk = [a.HopSkipJump(steps=(5, 10, 20)[rank])]
    if kind == "linf":
        return [*gradient, a.DeepFool(), a.Square(steps=queries), *walk]
    if kind == "l2":
        exact = [a.CarliniWagner()] if rank else []
        return [*gradient, a.DeepFool(), a.DDN(steps=(40, 100, 300)[rank]), *exact, a.Square(steps=queries), *walk]
    if kind == "l1":
        return [a.PGD(), a.APGD(), a.Restarts(attack=a.PGD(steps=100), restarts=(2, 5, 10)[rank]), a.Square(steps=queries)]
    if kind == "l0":
        return [a.PGD(), a.JSMA(), a.SparseRS(steps=queries)]
    raise InputError(f"There is no preset for the threat {kind}. Name attacks with --attack.")


def radii(kind: str, eps: float) -> list[float]:
    """The radii of the security curve beside the main one."""
    if kind == "l0":
        found = {float(max(1, round(eps * share))) for share in (0.1, 0.25, 0.5, 2.0, 4.0)}
    else:
        found = {float(f"{eps * share:.6g}") for share in (0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0)}
    return sorted(found - {eps})
