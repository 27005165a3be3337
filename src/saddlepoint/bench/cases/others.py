"""One change for all, rotations and shifts, and training."""

from dataclasses import replace
from functools import partial

from saddlepoint import attacks as A
from saddlepoint.bench import floors
from saddlepoint.bench.case import CLASSES, Bar, Case, inf
from saddlepoint.bench.cases.calls import art, call
from saddlepoint.models.train import Trainer
from saddlepoint.threats import Linf


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
        floor=partial(floors.universal, eps=0.2, epochs=10, batch=16, momentum=0.9),
        rounds={"art": 3},
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


def fast_training() -> Case:
    """The fast training of Wong, Rice and Kolter (2020), by others with the rate of its paper."""
    one_step = {"steps": 1, "step_size": 0.125}
    rival = call("AdversarialTrainerFBFPyTorch", eps=0.1, **{"fit.nb_epochs": 1, "fit.batch_size": 128}, learning_rate=2e-3)
    return replace(
        training(),
        name="training-fast",
        about="adversarial training with one step of PGD, one pass over 2000 digits",
        bars=(Bar(19, "floor", 1.03),),
        budget="batches of 128, one step of 1.25 times the radius of 0.1; Adam, ours at 0.002, theirs at up to 0.21",
        ours=Trainer(epochs=1, batch=128, attack=A.PGD(loss="cross_entropy", **one_step), threat=Linf(0.1)),
        calls={"art trainer": rival},
        floor=partial(floors.madry, eps=0.1, batch=128, learning_rate=2e-3, **one_step),
    )
