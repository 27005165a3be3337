"""The front door: attack a model on a batch of examples."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.attack import Attack, LearnedAttack, Seeks
from saddlepoint.core.config import from_config
from saddlepoint.core.errors import InputError, SaddlepointError, out_of_memory
from saddlepoint.core.game import Game, Stop
from saddlepoint.core.goal import Goal, Untargeted
from saddlepoint.core.model import Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.registry import registry
from saddlepoint.core.result import Outcome, Result
from saddlepoint.core.threat import Threat
from saddlepoint.ops.grid import on_grid, rounded

log = logging.getLogger("saddlepoint")


def attack(
    model: Any,
    x: Any,
    goal: Any,
    threat: Threat | str,
    method: Attack | str = "PGD",
    *,
    seed: int = 0,
    ids: Tensor | None = None,
    batch: int = 256,
    queries: int | None = None,
    stop: Stop | None = None,
    starts: Tensor | None = None,
    quantize: int | None = None,
    progress: bool = False,
) -> Result:
    """Search for adversarial inputs and re-check what was found.

    Args:
        model: a Model, or any torch.nn.Module of inputs in [0, 1].
        x: (n, *shape) float inputs within the model's bounds.
        goal: what the attacker wants: a Goal, or labels (n,) for Untargeted.
        threat: what the attacker may do: a Threat, or text such as "linf:8/255", "l2:0.5", "l0:20", "l2" (no radius).
        method: an Attack, or its name.
        seed: key of all randomness, together with `ids`.
        ids: (n,) numbers that name the examples; equal seed and id give equal noise in any batch. Default 0 ... n - 1.
        batch: rows attacked at once, and the largest forward pass. Halved, with the same results, when memory runs out.
        queries: forward passes a row may cost, the look at the clean input included.
        stop: when a row leaves; by default at the first win, or at the attack's end if it seeks the minimum.
        starts: (n, *shape) inputs that reach the goal already, from which a decision-based attack may walk in. A targeted
            one needs them: images of the target class.
        quantize: number of levels between the bounds: 256 shows the model 8-bit images alone and returns one, which stays
            adversarial when it is saved as PNG. `x` must be on that grid.
        progress: show a progress bar on standard error.

    Raises:
        InputError: an argument is not what it should be; the sentence says which, and what to do.
        AccessError: the model gives less than the attack needs.
        ModelError: the model fails or returns something else than logits.
    """
    model, method, threat = as_model(model), as_attack(method), as_threat(threat)
    x = checked_inputs(x, model)
    goal = as_goal(goal, model.rejection).checked(len(x), x.device)
    check_settings(seed, batch, queries)
    x = x if quantize is None else checked_grid(x, quantize, model)
    if starts is not None:
        starts = checked_inputs(starts, model, "starts")
        if starts.shape != x.shape:
            raise InputError(f"starts must have the shape of x, {tuple(x.shape)}; got {tuple(starts.shape)}.")
    numbers = torch.arange(len(x)) if ids is None else checked_ids(ids, len(x))
    if stop is not None and not isinstance(stop, Stop):
        raise InputError(f"stop must be a Stop; got {stop!r}. Write Stop.FIRST_WIN or Stop.NEVER.")
    stop = stop or (Stop.NEVER if method.seeks is Seeks.MINIMUM else Stop.FIRST_WIN)
    match = _Match(model, threat, method, seed, queries, stop, quantize, batch)
    parts = []
    with torch.inference_mode(False), model.session(), torch.enable_grad():
        x = x.clone() if x.is_inference() else x
        for rows in _tracked(_batches(len(x), batch), len(x), progress):
            parts += match.play(x, goal, numbers, starts, rows)
        if not parts:
            parts = [match.play_once(x, goal, numbers, starts, batch)]
    return Result.join(parts)


def fit(
    model: Any,
    x: Any,
    goal: Any,
    threat: Threat | str,
    method: LearnedAttack | str,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Attack:
    """Learn an attack on some examples, to be played on others with `attack`.

    Args:
        model: as for `attack`.
        x: (n, *shape) examples to learn on, at least one.
        goal: a Goal, or labels (n,) for Untargeted.
        threat: the set that the result stays in.
        method: a LearnedAttack, or its name.
        seed: key of all randomness.
        progress: show a progress bar on standard error.

    Raises:
        InputError: an argument is not what it should be, or the method does not fit the threat or the goal.
        AccessError: the model gives less than learning needs.
    """
    model, threat = as_model(model), as_threat(threat)
    method = from_config(method, "learned") if isinstance(method, str) else method
    name = type(method).__name__
    if not isinstance(method, LearnedAttack):
        raise InputError(
            f"The method must be a LearnedAttack or its name; got {method!r}. Play other attacks with `attack`."
        )
    x = checked_inputs(x, model)
    goal = as_goal(goal, model.rejection).checked(len(x), x.device)
    check_settings(seed, 1, None)
    model.require(method.access, name, "Learn on a model that shows more.")
    for what, value, kinds in (("threat", threat, method.threats), ("goal", goal, method.goals)):
        if not isinstance(value, kinds):
            known = ", ".join(k.__name__ for k in kinds)
            raise InputError(f"{name} learns for the {what}s {known}; got {type(value).__name__}. Choose one of them.")
    if not len(x):
        raise InputError(f"{name} learns from examples, and x has none. Give some.")
    with torch.inference_mode(False), model.session(), torch.enable_grad(), _bar("learning", progress) as told:
        return method.fit(model, x, goal, threat, seed=seed, on_step=told)


@dataclass(frozen=True)
class _Match:
    """What stays the same from batch to batch."""

    model: Model
    threat: Threat
    method: Attack
    seed: int
    queries: int | None
    stop: Stop
    levels: int | None
    batch: int

    def play_once(self, x: Tensor, goal: Goal, ids: Tensor, starts: Tensor | None, chunk: int) -> Result:
        """One game of passes of at most `chunk` rows, and the re-check of what it found."""
        game = Game(
            self.model, x, goal, self.threat, noise=Noise(self.seed, ids, device=x.device), seeks=self.method.seeks,
            stop=self.stop, queries=self.queries, chunk=chunk, starts=starts, levels=self.levels,
        )  # fmt: skip
        game.play(self.method)
        best, holds, answers = game.verify()
        rows = game.all
        inside = self.threat.contains(x, best, rows.theta)
        outcome = torch.full_like(rows.queries, Outcome.NOT_FOUND, dtype=torch.int8)
        outcome[rows.spent] = Outcome.OUT_OF_QUERIES
        outcome[rows.nonfinite] = Outcome.NONFINITE
        outcome[rows.won] = Outcome.ESCAPED
        outcome[rows.won & holds & inside] = Outcome.FOUND
        outcome[rows.already] = Outcome.ALREADY_WRONG
        outcome[rows.broken] = Outcome.NONFINITE
        kept = holds if self.method.seeks is Seeks.MINIMUM else outcome == Outcome.FOUND
        size = torch.where(kept, self.threat.size(x, best, rows.theta), torch.inf).masked_fill(rows.already, 0)
        counts = rows.queries, rows.gradients, rows.blank, game.forwards, game.backwards
        return Result(best, outcome, size, rows.clean, answers, *counts, theta=rows.theta)

    def play(self, x: Tensor, goal: Goal, ids: Tensor, starts: Tensor | None, rows: slice) -> list[Result]:
        """The same for some rows; when memory runs out, fewer at once, with the same results."""
        results, first, chunk = [], rows.start, self.batch
        while first < rows.stop:
            part = slice(first, min(first + chunk, rows.stop))
            begin = starts if starts is None else starts[part]
            try:
                results.append(self.play_once(x[part], goal.select(part), ids[part], begin, chunk))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if chunk == 1:
                    raise SaddlepointError(
                        f"Memory ran out on a batch of one example of shape {tuple(x.shape[1:])}. "
                        "Use a smaller model or another device."
                    ) from error
                log.warning("Out of memory with %d rows: going on with %d.", chunk, chunk // 2)
                chunk //= 2
            else:
                first = part.stop
        return results


def maximize(model: Model, x: Tensor, goal: Goal, threat: Threat, method: Attack, noise: Noise) -> Tensor:
    """Where `method` ends, without judging on the way: the inner maximization of adversarial training.

    The caller enters `model.session()` and keeps inputs, labels and model on one device; nothing is checked here.
    """
    game = Game(model, x, goal, threat, noise=noise, seeks=method.seeks, stop=Stop.NEVER, judged=False, chunk=len(x))
    game.play(method)
    if game.answer is None:
        raise InputError(f"{type(method).__name__} submits no last iterate, so it cannot train a model. Use PGD or FGSM.")
    return threat.apply(x, game.answer.detach()).clamp(*model.bounds)


def _batches(n: int, batch: int) -> Iterator[slice]:
    for start in range(0, n, batch):
        yield slice(start, min(start + batch, n))


def _tracked(batches: Iterator[slice], n: int, progress: bool) -> Iterator[slice]:
    with _bar("attacking", progress) as told:
        for rows in batches:
            yield rows
            told(rows.stop, n)


@contextmanager
def _bar(what: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how much of the work is done."""
    if not shown:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def as_model(model: Any) -> Model:
    """A Model as it is; a torch module as a TorchModel of inputs in [0, 1], and says so."""
    if isinstance(model, Model):
        return model
    if isinstance(model, torch.nn.Module):
        from importlib import import_module

        _say_once("A plain torch module is taken to accept inputs in [0, 1]. Wrap it in TorchModel to say otherwise.")
        return import_module("saddlepoint.models.torch").TorchModel(model)
    raise InputError(
        f"The model must be a saddlepoint Model or a torch.nn.Module; got {model!r:.60}. "
        "Wrap a function in CallableModel, an estimator in SklearnModel."
    )


_said: set[str] = set()


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        log.warning(sentence)


def as_attack(method: Any) -> Attack:
    """An Attack as it is, or the registered one of that name with its defaults."""
    if isinstance(method, Attack):
        return method
    if isinstance(method, str):
        if method.casefold() in (name.casefold() for name in registry("learned").names()):
            raise InputError(f"{method} is learned on examples first. Use saddlepoint.fit, and attack with what it returns.")
        found = from_config(method, "attack")
        assert isinstance(found, Attack)
        return found
    hint = f" Write {method.__name__}()." if isinstance(method, type) else ""
    raise InputError(f"The method must be an Attack or its name; got {method!r}.{hint}")


def as_threat(threat: Any) -> Threat:
    """A Threat as it is, or the one that text such as "linf:8/255" describes; no radius means unbounded."""
    if isinstance(threat, Threat):
        return threat
    if isinstance(threat, str):
        found = from_config(_parsed_threat(threat), "threat")
        assert isinstance(found, Threat)
        return found
    hint = f" Write {threat.__name__}(eps)." if isinstance(threat, type) else " Write 'linf:8/255' or Linf(8 / 255)."
    raise InputError(f"The threat must be a Threat or text; got {threat!r}.{hint}")


def _parsed_threat(text: str) -> dict[str, Any]:
    """Plain data of "linf:8/255", "l2", "spatial:30,3" or "spatial:rotation=30"."""
    name, colon, values = text.partition(":")
    if colon and not values:
        raise InputError(f"The threat {text!r} has no value after the colon. Write linf:8/255, say, or linf.")
    known = [f.name for f in fields(registry("threat").get(name))]
    data: dict[str, Any] = {"name": name}
    for place, part in enumerate(values.split(",") if colon else ()):
        key, equals, value = part.partition("=")
        if not equals and place >= len(known):
            raise InputError(f"The threat {text!r} has too many values. {name} takes {', '.join(known)}.")
        data |= {key: value} if equals else {known[place]: part}
    return {"eps": "inf"} | data if known[:1] == ["eps"] else data


def as_goal(goal: Any, rejection: int | None = None) -> Goal:
    """A Goal as it is; labels mean Untargeted, where a refusal to answer is not a win."""
    if isinstance(goal, Goal):
        return goal
    if isinstance(goal, type) and issubclass(goal, Goal):
        raise InputError(f"The goal must be an instance; got the class {goal.__name__}. Write {goal.__name__}(...).")
    if isinstance(goal, str) or goal is None:
        raise InputError(f"The goal must be a Goal or the labels of x; got {goal!r}. Pass y, or Untargeted(y).")
    return Untargeted(_as_tensor(goal, "The labels"), rejection)


def _as_tensor(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, np.ndarray) and not value.flags.writeable:
            value = value.copy()
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} must be a tensor or array; got {type(value).__name__} ({error}).") from None


def checked_inputs(x: Any, model: Model, name: str = "x") -> Tensor:
    """Inputs on the model's device, within its bounds, or one InputError."""
    x = _as_tensor(x, name).detach()
    if x.is_nested or x.layout is not torch.strided:
        raise InputError(
            f"{name} must be a dense tensor; got {'nested' if x.is_nested else x.layout}. Use {name}.to_dense()."
        )
    low, high = model.bounds
    if x.is_meta:
        raise InputError("x is on the meta device and has no values. Give real inputs.")
    if x.is_quantized:
        raise InputError(f"x must be a dense tensor; got {x.layout}. Use x.to_dense() or x.dequantize().")
    if x.dtype not in (torch.float32, torch.float64):
        remedy = f"Scale it: x.float() / 255 for bounds (0, 1); here they are ({low:g}, {high:g})."
        remedy = "Cast it: x.float()." if x.is_floating_point() else remedy
        raise InputError(f"{name} must be float32 or float64; got {x.dtype}. {remedy}")
    if x.dim() < 2:
        raise InputError(f"x must be a batch (n, *shape); got shape {tuple(x.shape)}. Use x[None] for one example.")
    if x[:1].numel() == 0 and len(x):
        raise InputError(f"x has examples without features: shape {tuple(x.shape)}. Give at least one feature.")
    x = x.to(model.device) if model.device is not None else x
    for value, wrong in (("NaN", x.isnan()), ("infinity", x.isinf())):
        if wrong.any():
            row = int(wrong.flatten(1).any(1).nonzero()[0])
            raise InputError(f"{name} contains {value}, first in the example at index {row}. Remove or repair it.")
    if len(x) and (x.min() < low - 1e-6 or x.max() > high + 1e-6):
        raise InputError(
            f"{name} must lie in the model's bounds [{low:g}, {high:g}]; got values in [{x.min():.4g}, {x.max():.4g}]. "
            "Scale x, or declare other bounds on the model."
        )
    return x.clamp(low, high).contiguous()


def checked_grid(x: Tensor, levels: Any, model: Model) -> Tensor:
    """Inputs exactly on the grid of so many levels between the model's bounds, or one InputError."""
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 2:
        raise InputError(f"quantize must be a number of levels of at least 2; got {levels!r}. Write 256 for 8-bit images.")
    wrong = ~on_grid(x, levels, model.bounds)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"quantize={levels} needs inputs on that grid, and the example at index {row} is not. "
            "Round x first: saddlepoint.ops.grid.rounded(x, x, levels, bounds)."
        )
    return rounded(x, x, levels, model.bounds)


def checked_ids(ids: Any, rows: int) -> Tensor:
    """Example ids (n,), or one InputError."""
    ids = _as_tensor(ids, "ids")
    if tuple(ids.shape) != (rows,) or ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool:
        raise InputError(f"ids must be {rows} integers, one an example; got {ids.dtype} of shape {tuple(ids.shape)}.")
    return ids


def check_settings(seed: Any, batch: Any, queries: Any) -> None:
    """Raise InputError unless these are integers that make sense."""
    for name, value, least in (("seed", seed, None), ("batch", batch, 1), ("queries", queries, 2)):
        if value is None and name == "queries":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
            bound = f" of at least {least}" if least is not None else ""
            raise InputError(f"{name} must be an integer{bound}; got {value!r}. Write {name}={least or 0}, say.")
