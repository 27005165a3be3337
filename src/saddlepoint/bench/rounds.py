"""Rounds in which everybody plays once, one after the other; cost counted outside of whoever is measured."""

import contextlib
import copy
import io
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saddlepoint.bench.case import CLASSES, Call, Case, Goal, inf
from saddlepoint.bench.judge import graded, judge
from saddlepoint.bench.libraries import installed, library_of, load
from saddlepoint.bench.nets import Match
from saddlepoint.core.attack import LearnedAttack
from saddlepoint.core.game import Stop
from saddlepoint.core.goal import Targeted, Untargeted
from saddlepoint.core.play import attack, fit
from saddlepoint.data.dataset import Arrays
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import Trainer

OURS, FLOOR = "saddlepoint", "by hand"
FEWEST, MOST, ENOUGH = 3, 15, 60.0  # rounds of a case, and CPU seconds after which there are no more than the fewest
Play = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
Row = dict[str, Any]


class Counted(nn.Module):
    """The network as everybody sees it: counts rows forward and backward, and computes in float32, on one channel.

    A backward pass counts the rows of the gradient that reaches the logits, those that are zero among them: they cost the
    same. Gradients of gradients are not looked for.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.forwards = 0
        self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.net(x.float().mean(1, keepdim=True) if x.shape[1] == 3 else x.float())
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        """A backward pass has come by."""
        self.backwards += len(gradient)


class OutOfTimeError(BaseException):
    """Raised by the clock; not an Exception, so that no library can swallow it."""


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block after so many seconds of CPU time; where there is no such clock, never."""
    if not hasattr(signal, "SIGPROF"):
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTimeError(f"stopped after {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators, from which the libraries draw, at a seed; afterwards as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def once(play: Play, match: Match, how: Callable[[nn.Module, Tensor], Row], seed: int, limit: float) -> Row:
    """Play once, and have it judged; whatever is raised is the result, in words.

    Args:
        play: from network, inputs, labels and seed to what was found.
        match: what it is played on; the network is copied, so that nobody sees what another one left behind.
        how: the judge, told the copy and what was found.
        seed: of all randomness.
        limit: seconds of CPU time.
    """
    net = copy.deepcopy(match.net)
    net.zero_grad()
    counted = Counted(net).train(net.training)
    try:
        with seeded(seed), cpu_limit(limit):
            started = time.process_time()
            found = play(counted, match.x.clone(), match.y.clone(), seed)
            seconds = time.process_time() - started
        verdict = how(net, found)
    except (Exception, OutOfTimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        return {"error": reason if isinstance(error, OutOfTimeError) else f"{type(error).__name__}: {reason}"}
    n = len(match.x)
    cost = {"forwards": round(counted.forwards / n, 2), "backwards": round(counted.backwards / n, 2)}
    return verdict | cost | {"seconds": round(seconds, 4)}


def library(label: str, call: Call, goal: Goal) -> Play:
    """What plays a call of a library; silent, since some of them print."""
    run = load(label)

    def play(net: nn.Module, x: Tensor, y: Tensor, _: int) -> Tensor:
        found = []
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for part in torch.arange(len(x)).split(call.batch or len(x)):
                seen = x[part].expand(-1, 3, -1, -1).contiguous() if call.color else x[part]
                back = run(net, seen, y[part], goal, call)
                found.append(back.mean(1, keepdim=True) if call.color else back)
        return torch.cat(found)

    return play


def ours(case: Case) -> Play:
    """What plays this library's side of a case."""

    def play(net: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        method = case.ours
        if isinstance(method, Trainer):
            method.fit(net, Arrays("examples", x.numpy(), y.numpy()))
            return x
        model, goal = TorchModel(net), Targeted((y + 1) % CLASSES) if case.goal == "targeted" else Untargeted(y)
        if isinstance(method, LearnedAttack):
            method = fit(model, x, goal, case.threat, method, seed=seed)
        stop = None if case.radius is None else Stop.FIRST_WIN  # inside a radius the first win is as good as any
        return attack(model, x, goal, case.threat, method, seed=seed, stop=stop).x_adv

    return play


def measure(
    case: Case,
    match: Match,
    *,
    rounds: int | None = None,
    limit: float = 120.0,
    told: Callable[[str, int, Row], None] | None = None,
) -> dict[str, list[Row]]:
    """Every side of a case once a round, with the round as seed.

    Args:
        case: what to measure.
        match: its network and examples.
        rounds: how many; None for 3, and on until a minute is spent on the case, or 15. `case.rounds` may allow a library
            fewer. Who fails or runs out of time plays no further round.
        limit: seconds of CPU time for one side in one round.
        told: called after each play, with who it was, the round and the row.

    Returns: by side, a row a round: success, median, forwards and backwards an example and CPU seconds, or an error.
    """
    found: dict[str, list[Row]] = {label: [] for label in (OURS, *((FLOOR,) if case.floor else ()), *case.calls)}
    plays: dict[str, Play] = {OURS: ours(case)}
    if case.floor:
        plays[FLOOR] = lambda net, x, y, _: case.floor(net, x, y)  # type: ignore[misc]  # asked above
    for label, call in case.calls.items():
        if not installed(label):
            found[label].append({"error": f"not installed: {library_of(label).install}"})
            continue
        try:
            plays[label] = library(label, call, case.goal)
        except Exception as error:
            found[label].append({"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"})

    def how(net: nn.Module, back: Tensor) -> Row:
        if match.test is not None:
            return graded(net, *match.test)
        return judge(match.net, match.x, match.y, back, norm=case.norm, radius=case.radius, goal=case.goal)

    turn, started = 0, time.process_time()
    while turn < (rounds or FEWEST) or (rounds is None and turn < MOST and time.process_time() - started < ENOUGH):
        for label, play in plays.items():
            if turn < case.rounds.get(label, turn + 1) and not any("error" in row for row in found[label]):
                row = once(play, match, how, turn, limit)
                found[label].append(row)
                if told:
                    told(label, turn, row)
        turn += 1
    return found


def summary(found: dict[str, list[Row]]) -> dict[str, Row]:
    """By side: mean success and passes, the median of medians and of seconds, and of the ratio to ours in the same round."""
    result: dict[str, Row] = {}
    for label, rows in found.items():
        good = [row for row in rows if "error" not in row]
        if not good:
            result[label] = {"error": rows[0]["error"], "rounds": 0}
            continue
        middle = statistics.median_low([inf if row["median"] is None else row["median"] for row in good])
        pairs = [(row, own) for row, own in zip(good, found[OURS], strict=False) if "seconds" in own]
        ratios = [row["seconds"] / max(own["seconds"], 1e-9) for row, own in pairs]
        result[label] = {
            "success": round(statistics.mean(row["success"] for row in good), 4),
            "median": None if middle == inf else middle,
            "forwards": round(statistics.mean(row["forwards"] for row in good), 2),
            "backwards": round(statistics.mean(row["backwards"] for row in good), 2),
            "seconds": round(statistics.median(row["seconds"] for row in good), 4),
            "ratio": round(statistics.median(ratios), 3) if ratios else None,
            "rounds": len(good),
        }
        if len(good) < len(rows):
            result[label]["note"] = rows[-1]["error"]
    return result
