"""What is audited: models and data, from whatever stands for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.core.config import to_config
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Model
from saddlepoint.core.registry import did_you_mean
from saddlepoint.data import Arrays, DataSet, load
from saddlepoint.defenses.gallery import GALLERY, entry
from saddlepoint.defenses.workshop import Workshop
from saddlepoint.evaluation.spec import Subject, file_digest, weights_digest
from saddlepoint.models.cache import kept
from saddlepoint.models.resolve import ZOO, is_address, resolve
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import Trainer, seeded
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.threats import Linf

DEMO_DATA = "mnist-5k"


def demonstration(
    device: torch.device, seed: int, on_epoch: Callable[[str, int, int], None] | None = None
) -> tuple[list[Subject], dict[str, Model]]:
    """A plain network for digits and one trained against PGD at radius 0.2, trained now or read from the cache."""
    data = load(DEMO_DATA, "train")
    inner = PGD(steps=5, step_size=0.1, loss="cross_entropy")
    trainers = {
        "plain": Trainer(epochs=8, seed=seed),
        "madry": Trainer(epochs=15, learning_rate=3e-3, attack=inner, threat=Linf(0.2), warmup=4, seed=seed),
    }
    subjects, models = [], {}
    for name, trainer in trainers.items():

        def tell(done: int, _: float, name: str = name, epochs: int = trainer.epochs) -> None:
            if on_epoch:
                on_epoch(name, done, epochs)

        made, path = trained(trainer, data, device, on_epoch=tell)
        models[name] = made
        subjects.append(Subject(name, f"SmallCNN trained on {data.name}", file_digest(path), to_config(trainer)))
    return subjects, models


def trained(
    trainer: Trainer, data: DataSet, device: torch.device, *, on_epoch: Callable[[int, float], None] | None = None
) -> tuple[TorchModel, Path]:
    """The small network that a trainer makes of the data, and its file of weights; trained once, then read back."""
    shape = data.shape
    net = seeded(lambda: SmallCNN((shape[0], shape[1], shape[2]), len(data.classes)), trainer.seed)
    made_of = {"trainer": to_config(trainer), "data": data.digest(), "net": "SmallCNN", "torch": torch.__version__}
    path = kept(net, made_of, lambda: trainer.fit(net, data, device=device, on_epoch=on_epoch))
    return TorchModel(net.to(device).eval()), path


def resolve_or_train(
    model: Any, data: Any, examples: DataSet, *, seed: int, weights: str | Path | None, device: torch.device, **how: Any
) -> Model:
    """What `resolve` gives; a network of the zoo without weights, or a broken defense, is first trained.

    Raises InputError when one of these is asked for and the data is not known by name, so has no training part.
    """
    if not isinstance(model, str) or ":" in model or (model in ZOO and weights is not None):
        return resolve(model, examples, weights=weights, device=device, **how)
    if model not in ZOO and model not in GALLERY:
        raise InputError(
            f"There is no model named {model!r}.{did_you_mean(model, [*ZOO, *GALLERY])} Give package.module:factory, an "
            f"address of http, one of the zoo ({', '.join(ZOO)}), or a broken defense (`saddlepoint list defenses`)."
        )
    if weights is not None:
        raise InputError(f"The defense {model} is trained here, weights and all. Leave the weights out.")
    if data is not None and not isinstance(data, str | Path):
        raise InputError(f"{model} has no weights of its own. Give weights, or the data by name so that it can be trained.")
    train, trainer = load(DEMO_DATA if data is None else str(data), "train"), Trainer(epochs=8, seed=seed)
    if model in ZOO:
        return trained(trainer, train, device)[0]
    return resolve(entry(model).build(Workshop(train, trainer, seed)), examples, device=device)


def as_data(data: Any) -> DataSet:
    """A data set, or the one that a name, a path or a pair (x, y) stands for."""
    if isinstance(data, DataSet):
        return data
    if isinstance(data, str | Path):
        return load(str(data))
    if isinstance(data, tuple | list) and len(data) == 2:
        return Arrays("arrays", *(v.numpy(force=True) if isinstance(v, Tensor) else v for v in data))
    raise InputError(f"The data must be a DataSet, a name, a path or a pair (x, y); got {type(data).__name__}.")


def subject(name: str, given: Any, model: Model) -> Subject:
    """How a specification speaks of a model."""
    source = given if isinstance(given, str) else f"{type(getattr(given, 'net', given)).__name__}, given as an object"
    return Subject(name, source, weights_digest(model.net) if isinstance(model, TorchModel) else "")


def name_of(model: Any) -> str:
    """What a model goes by if nobody names it."""
    if is_address(model):
        return model.partition("//")[2].partition("#")[0].partition("?")[0]
    if isinstance(model, str):
        return model.rpartition(":")[2]
    return type(getattr(model, "net", model)).__name__
