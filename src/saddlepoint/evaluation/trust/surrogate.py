"""Small networks that learn to answer as something without a useful gradient does."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from saddlepoint.core.answers import checked_answers, checked_logits, natural_scale
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.threat import Threat
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import isolated_randomness
from saddlepoint.models.zoo import SmallCNN

LESSONS = 500  # examples, at most
COPIES = 6  # of every example, each moved at random
PASSES = 15  # over them all
BATCH = 128
RATE = 2e-3
SOFTNESS = 4.0  # the temperature at which scores on their natural scale are taught


def surrogate(model: Model, x: Tensor, threat: Threat, seed: int = 0) -> TorchModel:
    """A small network taught to answer as `model` does, on examples and on random points around them.

    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, for the scores; Papernot et al.,
    "Practical black-box attacks against machine learning", 2017, for the use.

    Args:
        model: what is imitated; labels are enough.
        x: (n, *shape) examples.
        threat: how far the random points go.
        seed: of everything random.
    """
    points = scattered(x, threat, model.bounds, seed)
    with model.session(), torch.no_grad():
        wanted = torch.cat([_lesson(model, part) for part in points.split(BATCH)])
    net = _network(tuple(x.shape[1:]), wanted.shape[1], seed)
    _teach(net, points, wanted, lambda out, goal: cross_entropy(out, goal), seed)
    return TorchModel(net, model.bounds)


def stand_in(given: Tensor, made: Tensor, seed: int = 0) -> nn.Module:
    """A small network that maps what a module was given (n, *shape) to about what it made of it (n, *other).

    Args:
        given: inputs that were seen.
        made: outputs that were seen.
        seed: of everything random.
    """
    with isolated_randomness():
        torch.manual_seed(seed)
        alike = given.dim() == 4 and made.dim() == 4 and given.shape[2:] == made.shape[2:]
        if alike:
            net: nn.Module = nn.Sequential(
                nn.Conv2d(given.shape[1], 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, made.shape[1], 1)
            )
        else:
            flat = nn.Linear(given[0].numel(), 256)
            shape = tuple(made.shape[1:])
            net = nn.Sequential(nn.Flatten(), flat, nn.Tanh(), nn.Linear(256, made[0].numel()), nn.Unflatten(1, shape))
    _teach(net, given.detach().float(), made.detach().float(), mse_loss, seed)
    return net


def scattered(x: Tensor, threat: Threat, bounds: tuple[float, float], seed: int) -> Tensor:
    """Examples (n, *shape), and copies moved by up to the threat's size, or a tenth of the bounds where it has none."""
    noise = Noise(seed, torch.arange(len(x)), "scattered", x.device)
    low, high = bounds
    parts = [x]
    for _ in range(COPIES - 1):
        if threat.parametric or not 0 < threat.reach < float("inf"):
            moved = x + 0.1 * (high - low) * noise.sign(*x.shape[1:]).to(x)
        else:
            moved = threat.apply(x, threat.project(x, threat.start(x, noise, bounds), bounds))
        parts.append(moved.clamp(low, high))
    return torch.cat(parts)


def _lesson(model: Model, x: Tensor) -> Tensor:
    """Probabilities (b, k) to be taught."""
    if model.access < Access.SCORES:
        labels = checked_answers(model, x)
        return torch.nn.functional.one_hot(labels.clamp_min(0), int(labels.max()) + 1).to(x)
    logits = checked_logits(model.logits, x).nan_to_num(0.0)
    return (logits / natural_scale(logits)[:, None] / SOFTNESS).softmax(1)


def _network(shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    with isolated_randomness():
        torch.manual_seed(seed)
        if len(shape) == 3 and min(shape[1:]) >= 8:
            return SmallCNN((shape[0], shape[1], shape[2]), classes)
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), 128), nn.ReLU(), nn.Linear(128, classes))


def _teach(net: nn.Module, given: Tensor, wanted: Tensor, loss: Callable[[Tensor, Tensor], Tensor], seed: int) -> None:
    """Adam on shuffled batches."""
    shuffle = torch.Generator().manual_seed(seed)
    net.to(given.device)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    with torch.enable_grad():
        for _ in range(PASSES):
            for rows in torch.randperm(len(given), generator=shuffle).split(BATCH):
                value = loss(net(given[rows].float()), wanted[rows].float())
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
    net.eval()
