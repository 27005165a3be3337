"""Training, plain and adversarial: min over the parameters of the max that an attack finds."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import isfinite
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from saddlepoint.core.attack import Attack
from saddlepoint.core.config import Count, StepSize, record
from saddlepoint.core.errors import ConfigError, InputError
from saddlepoint.core.goal import Untargeted, checked_range
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import maximize
from saddlepoint.core.threat import Threat
from saddlepoint.models.torch import TorchModel

log = logging.getLogger("saddlepoint")


class Examples(Protocol):
    """What a trainer needs of a data set."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels."""
        ...


@record
class Trainer:
    """Adam with a one-cycle learning rate, on clean examples or on what `attack` makes of them.

    With an attack this is the training of Madry et al. (2018): every batch is replaced by the attack's answer within
    `threat`, found in evaluation mode, and the parameters descend there. With one step of PGD of 1.25 times the radius it
    is the fast training of Wong, Rice and Kolter (2020). With `replays` it is the free one of Shafahi et al. (2019), which
    needs no attack: one backward pass a replay moves the parameters down and the change of the batch up, by the whole
    radius, and the next batch begins with that change.

    Attributes:
        epochs: passes over the data.
        batch: examples a step.
        learning_rate: the highest of the cycle.
        attack: the inner maximizer, any attack that submits its last iterate; None for standard training.
        threat: where it may search, or where the change of free training stays.
        replays: steps on the parameters a batch. An epoch costs so many times more; divide `epochs` by it.
        warmup: epochs over which the radius grows to its full size; without it, training at a large radius may not start.
        seed: of the parameters' order of examples and of the attack's noise.
    """

    epochs: Count = 10
    batch: Count = 64
    learning_rate: StepSize = 2e-3
    attack: Attack | None = None
    threat: Threat | None = None
    replays: Count = 1
    warmup: Annotated[int, Field(ge=0)] = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replays == 1 and (self.attack is None) != (self.threat is None):
            raise ConfigError("Adversarial training needs an attack and a threat; got only one. Give both, or neither.")
        free = self.attack is None and self.threat is not None and not self.threat.parametric and isfinite(self.threat.reach)
        if self.replays > 1 and not free:
            raise ConfigError(
                f"Free adversarial training, replays={self.replays}, needs a ball with a radius for its threat, no attack; "
                f"got threat={self.threat!r} and attack={self.attack!r}. Write threat=Linf(0.1), or replays=1."
            )

    def fit(
        self,
        net: nn.Module,
        data: Examples,
        *,
        device: torch.device | str = "cpu",
        on_epoch: Callable[[int, float], None] | None = None,
    ) -> TorchModel:
        """Train `net` in place and return it as a model of inputs in [0, 1].

        `on_epoch` is called with the number of finished epochs and the mean loss of the last.
        """
        if not isinstance(net, nn.Module) or not hasattr(data, "batch"):
            raise InputError(
                f"A trainer needs a torch.nn.Module and a DataSet; got {type(net).__name__} and {type(data).__name__}. "
                "Give the network itself, and arrays as saddlepoint.data.Arrays."
            )
        if not len(data):
            raise InputError("There is nothing to train on: the data set has 0 examples. Give another.")
        device = as_device(device)
        net.to(device)
        model = TorchModel(net)
        first, _ = data.batch([0])
        with model.laid_out() as layout:
            with model.session():  # in evaluation mode: a look must not move running statistics
                layout.offer(model.ask, first.to(device))
            self._run(model, data, device, on_epoch)
        net.eval()
        return model

    def _run(
        self, model: TorchModel, data: Examples, device: torch.device, on_epoch: Callable[[int, float], None] | None
    ) -> None:
        """All epochs."""
        descend = self._descent(model, -(-len(data) // self.batch) * self.replays)
        shuffle = torch.Generator().manual_seed(self.seed)
        change: Tensor | None = None
        for epoch in range(self.epochs):
            started, total = time.monotonic(), 0.0
            for ids in torch.randperm(len(data), generator=shuffle).split(self.batch):
                x, y = (t.to(device) for t in data.batch(ids))
                if self.replays > 1:
                    change = torch.zeros_like(x) if change is None else change  # of the first batch, the largest
                    total += self._replayed(descend, model, x, y, self.grown(epoch), change)
                    continue
                if self.attack is not None and self.threat is not None:
                    noise = Noise(self.seed, ids + epoch * len(data), device=x.device)
                    with model.session():
                        x = maximize(model, x, Untargeted(y), self.grown(epoch), self.attack, noise)
                total += descend(x, y)
            log.debug("epoch %d: loss %.4f, %.1f s", epoch + 1, total / len(data), time.monotonic() - started)
            if on_epoch:
                on_epoch(epoch + 1, total / len(data))

    def _descent(self, model: TorchModel, steps: int) -> Callable[[Tensor, Tensor], float]:
        """One step on the parameters, of so many an epoch; it gives the sum of the losses before it."""
        fused = model.device is not None and model.device.type in ("cpu", "cuda")
        optimizer = torch.optim.Adam(model.net.parameters(), self.learning_rate, fused=fused)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, total_steps=self.epochs * steps)

        def descend(x: Tensor, y: Tensor) -> float:
            model.net.train()
            logits = model.logits(x)
            checked_range(y, logits.shape[1])
            loss = cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            return float(loss.detach()) * len(x)

        return descend

    def _replayed(
        self,
        descend: Callable[[Tensor, Tensor], float],
        model: TorchModel,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        change: Tensor,
    ) -> float:
        """Free steps on one batch, from the `change` that the batch before left, which is overwritten."""
        total, delta = 0.0, threat.project(x, change[: len(x)], model.bounds)
        for _ in range(self.replays):
            delta.requires_grad_()
            total += descend(threat.apply(x, delta), y) / self.replays
            assert delta.grad is not None
            step = threat.reach * threat.steepest(x, delta.detach(), -delta.grad, model.bounds)
            delta = threat.project(x, delta.detach() + step, model.bounds)
        change[: len(x)] = delta
        return total

    def grown(self, epoch: int) -> Threat:
        """The threat at the radius of this epoch."""
        share = min(1.0, (epoch + 1) / (self.warmup + 1))
        radius: Any = getattr(self.threat, "eps", None)
        assert self.threat is not None
        return self.threat if share == 1 or radius is None else replace(self.threat, eps=radius * share)  # type: ignore[type-var]


def as_device(name: torch.device | str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one.

    Raises InputError for a name that torch does not know.
    """
    try:
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except (RuntimeError, TypeError):
        raise InputError(f"There is no device {name!r}. Use auto, cpu or cuda.") from None


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Make a network with parameters drawn from `seed`, leaving torch's global randomness alone."""
    with isolated_randomness():
        torch.manual_seed(seed)
        return make()


def isolated_randomness() -> AbstractContextManager[Any]:
    """Restore torch's global random state on the way out."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else [])


def save_weights(net: nn.Module, path: Any) -> None:
    """Write parameters and buffers as safetensors, which holds numbers only and cannot run code."""
    save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, path)


def load_weights(net: nn.Module, path: Any) -> nn.Module:
    """Read weights into a network: safetensors, or a torch checkpoint of plain tensors. Never executes a pickle.

    Raises:
        InputError: the file is missing, is not a plain checkpoint, or does not fit the network.
    """
    state = saved_state(path)
    try:
        net.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        problem = " ".join(str(error).split())[:150]
        raise InputError(
            f"The weights in {path} do not fit {type(net).__name__}: {problem}. Name the network they were saved from."
        ) from None
    return net


def saved_state(path: Any) -> dict[str, Tensor]:
    """What a file of plain weights holds, by name.

    Raises:
        InputError: the file is missing, or is not a plain checkpoint.
    """
    try:
        return load_file(path) if str(path).endswith(".safetensors") else _plain_checkpoint(path)
    except FileNotFoundError:
        raise InputError(f"There is no file of weights at {path}. Check the path.") from None
    except Exception as error:
        raise InputError(
            f"{path} is not a file of plain weights ({type(error).__name__}: {str(error)[:120]}). "
            "Save net.state_dict() with safetensors.torch.save_file; pickled modules are code and are not loaded."
        ) from None


def _plain_checkpoint(path: Any) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)
