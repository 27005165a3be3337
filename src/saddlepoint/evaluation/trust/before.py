"""Before the attacks: what kind of answers a model gives, and what would make an attack on it fail without a word.

Most published defenses fell not because they were attacked harder but because what stalled the attack was noticed: outputs
that saturate, randomness, parts without a gradient, gradients that point nowhere (Athalye, Carlini and Wagner, "Obfuscated
gradients give a false sense of security", ICML 2018; Carlini et al., "On evaluating adversarial robustness", 2019).
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.answers import NATURAL_SPREAD, checked_answers, checked_logits, natural_scale
from saddlepoint.core.errors import ModelError, out_of_memory
from saddlepoint.core.goal import Untargeted
from saddlepoint.core.model import Access, Model
from saddlepoint.core.noise import Noise
from saddlepoint.core.result import Share
from saddlepoint.core.threat import Threat
from saddlepoint.evaluation.trust.check import Check
from saddlepoint.models.expectation import ExpectationOver
from saddlepoint.models.parts import Wrapped
from saddlepoint.models.restated import OneByOne
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import isolated_randomness
from saddlepoint.ops.losses import unanswered

ROWS = 64  # examples looked at
FEW = 16  # of them where every row is asked many times
REPEATS = 5
DRAWS = (1, 5, 10, 20, 50)  # how many draws an answer may need
SAME = 1e-3  # of a logit's natural spread: what rounding can do
RARELY = 0.05  # share of rows
MOSTLY = 0.8  # share of rows with one answer by many draws, below which a model has none
INSTEAD = "another gradient takes its place"
STEP = 1e-3  # of the width of the bounds: a step that short, a network's loss is nearly a plane


@dataclass(frozen=True)
class Examination:
    """What is known of a model before it is attacked.

    Attributes:
        kind: "logits", "log-probabilities", "probabilities" or "labels".
        random: whether the same question gets different answers.
        draws: how many draws a stable answer needs; 0 if 50 are not enough.
        coupled: whether the answer to a row depends on the rest of its batch.
        saturated: share of rows where the cross entropy, as it is commonly computed, has a gradient of exactly zero.
        blank: share of rows where the margin has a gradient of exactly zero, or none; None without access to gradients.
        slope: median over rows of what a short step along the gradient changes, over what the gradient promises; None if it
            cannot be measured.
        stops: names of the modules that let no gradient through, in the order in which they are called.
        checks: the findings.
        forwards, backwards: rows asked.
    """

    kind: str
    random: bool
    draws: int
    coupled: bool
    saturated: float
    blank: float | None
    slope: float | None
    stops: tuple[str, ...]
    checks: tuple[Check, ...]
    forwards: int
    backwards: int

    @property
    def downhill(self) -> bool:
        """Whether a step along the gradient does about what the gradient promises; also where that cannot be measured."""
        return self.slope is None or downhill(self.slope)

    @property
    def hopeless(self) -> bool:
        """Whether there is no answer that an attack could change: it is another one every time, or no number."""
        return self.draws == 0 or any(c.name == "clean answers" and not c.passed for c in self.checks)


def examine(
    model: Model, x: Tensor, y: Tensor, *, threat: Threat | None = None, claimed: float | None = None, seed: int = 0
) -> Examination:
    """Look at a model before it is attacked; seconds of work on a few examples.

    Args:
        model: what is to be attacked.
        x: (n, *shape) clean inputs within its bounds; the first 64 are looked at.
        y: (n,) their labels.
        threat: where the attacks will search: its points are tried, too.
        claimed: the clean accuracy that somebody claims for the model.
        seed: of all randomness.

    Raises:
        ModelError: the model fails, or returns something else than scores or labels.
    """
    counted = Counted(model)
    x, y = x[:ROWS], y[:ROWS]
    training = isinstance(model, TorchModel) and model.net.training
    with torch.inference_mode(False), isolated_randomness(), model.session():
        torch.manual_seed(seed)
        return _Look(counted, x, y, seed).run(threat, claimed, training)


class Counted(Wrapped):
    """A model that counts the rows it is asked."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.model, self.bounds = model, model.bounds
        self.forwards = self.backwards = 0

    def logits(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return self.model.logits(x)

    def labels(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return self.model.labels(x)

    def gradient(self, loss: Tensor, x: Tensor) -> Tensor:
        """Of the sum of `loss` with respect to x; zeros where there is no way from one to the other."""
        self.backwards += len(x)
        if not loss.requires_grad:
            return torch.zeros_like(x)
        try:
            (found,) = torch.autograd.grad(loss.sum(), x, allow_unused=True)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return torch.zeros_like(x)
        return torch.zeros_like(x) if found is None else found


class _Look:
    """One examination; the model is in its session."""

    def __init__(self, model: Counted, x: Tensor, y: Tensor, seed: int) -> None:
        self.model, self.x, self.y, self.seed = model, x, y, seed
        self.checks: list[Check] = []

    def run(self, threat: Threat | None, claimed: float | None, training: bool) -> Examination:
        self.note(
            "mode",
            True,
            "the network was given in training mode, and is asked in evaluation mode"
            if training
            else "the network is asked in evaluation mode",
        )
        low, high = self.model.bounds
        span = f"[{float(self.x.min()):.4g}, {float(self.x.max()):.4g}]" if len(self.x) else "nothing"
        self.note("inputs", True, f"{self.x.dtype} in {span}, within the bounds [{low:g}, {high:g}]".replace("torch.", ""))
        with torch.no_grad():
            answers = self.scores(self.x)
        kind = "labels" if self.model.access < Access.SCORES else kind_of(answers)
        self.note("outputs", True, f"the outputs are {kind}" + self.spread(answers, kind))
        finite = self.finite(answers, threat)
        coupled = self.coupled()
        random, draws = self.draws(answers, coupled) if finite else (False, 1)
        self.clean(answers, random, claimed)
        saturated, blank, slope, stops = 0.0, None, None, ()
        self.refusals(answers)
        if self.model.access is Access.GRADIENTS and finite and draws > 0:
            saturated, blank, slope, stops = self.gradients(kind, random, draws, coupled)
        return Examination(
            kind, random, draws, coupled, saturated, blank, slope, tuple(stops), tuple(self.checks), self.model.forwards,
            self.model.backwards,
        )  # fmt: skip

    def note(self, name: str, passed: bool, finding: str, remedy: str = "") -> None:
        self.checks.append(Check(name, passed, finding, "before", remedy))

    def scores(self, x: Tensor) -> Tensor:
        """Logits (b, k), or labels (b, 1) where there are no scores."""
        if self.model.access < Access.SCORES:
            return checked_answers(self.model, x)[:, None].to(x.dtype)
        return checked_logits(self.model.logits, x)

    def broken(self, answers: Tensor) -> Tensor:
        return unanswered(answers) if self.model.access >= Access.SCORES else answers[:, 0] < 0

    def winners(self, answers: Tensor) -> Tensor:
        return answers[:, 0].long() if self.model.access < Access.SCORES else answers.argmax(1)

    def unlike(self, one: Tensor, two: Tensor) -> float:
        """The largest difference between two answers, in natural spreads of the logits."""
        if self.model.access < Access.SCORES:
            return float((one != two).any())
        moved = (one - two).nan_to_num(0.0).abs().amax(1)  # two infinities are alike
        return float((moved / natural_scale(one) / NATURAL_SPREAD).amax()) if len(one) else 0.0

    def spread(self, answers: Tensor, kind: str) -> str:
        if self.model.access < Access.SCORES:
            return ""
        top = answers.topk(2, dim=1).values
        gap = (top[:, 0] - top[:, 1]).median()
        return f"; the median distance of the first from the second is {float(gap):.4g}"

    def finite(self, answers: Tensor, threat: Threat | None) -> bool:
        """NaN on clean inputs, and on random points of the threat."""
        bad = int(self.broken(answers).sum())
        if bad:
            self.note("clean answers", False, f"{bad} of {len(self.x)} clean inputs have answers that are NaN or infinite")
            return False
        near = self.around(threat)
        with torch.no_grad():
            away = self.scores(near)
        wrong = int(self.broken(away).sum())
        finding = f"{wrong} of {len(near)} random points near the clean inputs have answers that are NaN or infinite"
        self.note("finite answers", not wrong, finding)
        return not wrong

    def around(self, threat: Threat | None) -> Tensor:
        """Points a random step away: corners of the threat, where attacks go, and points inside it."""
        noise = Noise(self.seed, torch.arange(len(self.x)), "around", self.x.device)
        low, high = bounds = self.model.bounds
        signs = (high - low) * noise.sign(*self.x.shape[1:]).to(self.x)
        if threat is None or threat.parametric or not 0 < threat.reach < float("inf"):
            sizes = noise.uniform(*self.x.shape[1:]).to(self.x)
            return torch.cat([self.x + 0.1 * signs, self.x + 0.1 * signs * sizes]).clamp(low, high)
        outside = (self.x + signs).clamp(low, high), threat.start(self.x, noise, bounds)
        return torch.cat([threat.project(self.x, points, bounds) for points in outside])

    def coupled(self) -> bool:
        """Whether rows answer differently alone than in company."""
        few = self.x[:FEW]
        with torch.no_grad():
            together, again = self.scores(few), self.scores(few)
            alone = torch.cat([self.scores(row) for row in few.split(1)])
        moved, noise = self.unlike(together, alone), self.unlike(together, again)
        wrong = moved > SAME and noise <= SAME
        self.note(
            "independent rows",
            not wrong,
            "the answer to an example depends on the others in its batch"
            if wrong
            else "the answer to an example does not depend on the others in its batch",
            "every example is asked alone",
        )
        return wrong

    def draws(self, answers: Tensor, coupled: bool) -> tuple[bool, int]:
        """Whether answers are random, and how many draws a stable one needs: 0 if the most that are tried are not enough."""
        with torch.no_grad():
            others = [self.scores(self.x) for _ in range(REPEATS - 1)]
        moved = max(self.unlike(answers, other) for other in others)
        if moved <= SAME:
            self.note("same answer twice", True, f"{REPEATS} repetitions gave the same answers")
            return False, 1
        few, most = self.x[:FEW], 2 * DRAWS[-1]
        rows = few.split(1) if coupled else [few]
        with torch.no_grad():
            asked = torch.stack([torch.cat([self.scores(part) for part in rows]) for _ in range(most)])
        needed = next((d for d in DRAWS if self.agreement(asked, d) >= 1 - RARELY), 0)
        if not needed and self.agreement(asked, DRAWS[-1]) >= MOSTLY:
            needed = DRAWS[-1]  # the rest are examples between two classes
        flips = torch.stack([self.winners(a) != self.winners(answers) for a in others]).float().mean()
        said = f"the answers are random: {float(flips):.1%} of repeated answers differ"
        self.note(
            "same answer twice",
            False,
            f"{said}, and {needed} make a stable one" if needed else f"{said}, and the means of {DRAWS[-1]} do, too",
            f"the mean of {attack_draws(needed)} draws is attacked, and the majority of 50 others judges" if needed else "",
        )
        return True, needed

    def agreement(self, asked: Tensor, draws: int) -> float:
        """How often the means of two disjoint sets of draws give the same answer."""
        groups = asked[: len(asked) // draws * draws].unflatten(0, (-1, draws))
        few = self.model.access < Access.SCORES
        means = groups[..., 0].mode(1).values if few else groups.mean(1).argmax(-1)
        half = len(means) // 2
        return float((means[:half] == means[half : 2 * half]).float().mean())

    def clean(self, answers: Tensor, random: bool, claimed: float | None) -> None:
        """Clean accuracy, and whether it can be the one that is claimed."""
        if random:
            return  # the audit itself says, with as many draws as it needs
        right = int((self.winners(answers) == self.y).sum())
        found = Share(right, len(self.y))
        if claimed is None:
            self.note("clean accuracy", True, f"{right} of {len(self.y)} examples are answered rightly")
            return
        low, high = found.interval
        finding = f"{right} of {len(self.y)} examples are answered rightly, {claimed:.1%} is claimed"
        self.note("clean accuracy", low <= claimed <= high, finding)

    def refusals(self, answers: Tensor) -> None:
        """Whether the model may refuse to answer, and how it decides."""
        output = self.model.rejection
        if output is None:
            return
        finding = (
            f"the model may refuse to answer, and refuses {int((self.winners(answers) == output).sum())} of {len(answers)}"
        )
        finding += " clean inputs"
        if self.model.access >= Access.SCORES:
            rest = torch.arange(answers.shape[1], device=answers.device) != output
            above = answers[:, output] - answers[:, rest].amax(1)
            finding += "; the same distance from every answer, so that it detects nothing" if above.std() < 1e-6 else ""
        self.note("refusals", False, finding, "only a wrong answer that is not refused counts as a success")

    def gradients(self, kind: str, random: bool, draws: int, coupled: bool) -> tuple[float, float, float | None, list[str]]:
        """Whether the loss has a gradient, on outputs as they are and on their natural scale, and whether it is right."""
        model: Model = OneByOne(self.model) if coupled else self.model
        if random:
            model = ExpectationOver(model, attack_draws(draws), seed=self.seed)
        goal = Untargeted(self.y, self.model.rejection)
        with torch.enable_grad():
            leaf = self.x.clone().requires_grad_()
            outputs = self.differentiable(model, leaf)
            textbook = self.model.gradient(goal.textbook(outputs), leaf)
            saturated = _share(~textbook.flatten(1).any(1))
            leaf = self.x.clone().requires_grad_()
            outputs = self.differentiable(model, leaf)
            scaled = outputs / natural_scale(outputs.detach())[:, None]
            margin = goal.margin(scaled)
            slope = self.model.gradient(margin, leaf)
        undefined = ~slope.isfinite().flatten(1).all(1)
        blank = _share(~slope.flatten(1).any(1) | undefined)
        self.note(
            "cross entropy has a gradient",
            saturated <= RARELY,
            f"the gradient of the cross entropy is exactly zero for {saturated:.1%} of {len(self.x)} examples"
            + (", since the softmax saturates" if saturated > RARELY >= blank else ""),
            "the attacks descend the margin of logits on their natural scale"
            + (", taken from the logarithm of the probabilities in double precision" if kind == "probabilities" else ""),
        )
        stops = self.stops() if blank > RARELY else []
        where = f"; it ends at {', '.join(stops)}" if stops else ""
        none = not outputs.requires_grad
        logarithm = kind == "probabilities" and not none
        self.note(
            "gradients arrive",
            blank <= RARELY,
            f"the outputs do not depend differentiably on the input{where}"
            if none
            else f"the gradient of the margin is exactly zero or undefined for {blank:.1%} of the examples{where}",
            "the logarithm of the probabilities is attacked, in double precision" if logarithm else INSTEAD,
        )
        ratio = self.slope(goal, model, margin.detach(), slope) if not random and blank <= RARELY else None
        if ratio is not None:
            self.note(
                "gradients point downhill",
                downhill(ratio),
                f"a short step along the gradient changes the margin by {ratio:.2f} times what it promises (median)",
                INSTEAD,
            )
        return saturated, blank, ratio, stops

    def differentiable(self, model: Model, leaf: Tensor) -> Tensor:
        try:
            return checked_logits(model.logits, leaf)
        except ModelError:  # gradients of its own may need what this leaf forbids
            with torch.no_grad():
                return checked_logits(model.logits, leaf.detach())

    def slope(self, goal: Untargeted, model: Model, before: Tensor, gradient: Tensor) -> float | None:
        """Median of the change of the margin over a short step, over what the gradient promises."""
        low, high = self.model.bounds
        moved = (self.x - STEP * (high - low) * gradient.sign()).clamp(low, high)
        promised = ((moved - self.x) * gradient).flatten(1).sum(1)
        with torch.no_grad():
            first, outputs = checked_logits(model.logits, self.x), checked_logits(model.logits, moved)
        after = goal.margin(outputs / natural_scale(first)[:, None])
        told = (promised.abs() > 1e-4) & (after - before).isfinite()  # less drowns in rounding
        if not told.any():
            return None
        return float(((after - before)[told] / promised[told]).median())

    def stops(self) -> list[str]:
        """Names of the modules that let no gradient through."""
        model: Any = self.model.model
        while not isinstance(model, TorchModel):
            inner = getattr(model, "model", None)
            if not isinstance(inner, Model):
                return []
            model = inner
        self.model.forwards += FEW
        return find_stops(model, self.x[:FEW])


def downhill(slope: float) -> bool:
    """Whether a change is about what was promised."""
    return 0.5 <= slope <= 2.0


def attack_draws(stable: int) -> int:
    """How many draws an attack averages, given how many a clean answer needs: near the boundary it takes more."""
    return max(20, stable)


def blank_share(model: Model, x: Tensor, y: Tensor) -> float:
    """Share of rows where the margin has no gradient with respect to the input, or one that is exactly zero or undefined."""
    with torch.inference_mode(False), torch.enable_grad(), isolated_randomness(), model.session():
        leaf = x.clone().requires_grad_()
        margin = Untargeted(y, model.rejection).margin(checked_logits(model.logits, leaf))
        gradient = Counted(model).gradient(margin, leaf)
    return _share(~gradient.flatten(1).any(1) | ~gradient.isfinite().flatten(1).all(1))


def kind_of(outputs: Tensor) -> str:
    """What outputs (n, k) look like."""
    if ((outputs >= 0).all() and ((outputs.sum(1) - 1).abs() < 1e-3).all()) and len(outputs):
        return "probabilities"
    if (outputs <= 1e-6).all() and (outputs.logsumexp(1).abs() < 1e-3).all() and len(outputs):
        return "log-probabilities"
    return "logits"


def find_stops(model: TorchModel, x: Tensor) -> list[str]:
    """Names of the smallest modules through which no gradient gets from input to output, in the order of calls.

    A module counts when its input depends on x and its output does not, or only with slope zero.
    """
    found: list[str] = []
    with torch.enable_grad():
        seen = calls(model, x.clone().requires_grad_())
    for name, given, made in seen:
        if not made.is_floating_point() or not given.requires_grad or any(inner.startswith(f"{name}.") for inner in found):
            continue
        if not made.requires_grad or not _passes(given, made):
            found.append(name)
    return list(dict.fromkeys(found))


def calls(model: TorchModel, x: Tensor) -> list[tuple[str, Tensor, Tensor]]:
    """Name, input and output of every module inside the network, in the order in which they return."""
    seen: list[tuple[str, Tensor, Tensor]] = []

    def hook(name: str) -> Callable[..., None]:
        def keep(_: Any, args: Any, output: Any) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
                seen.append((name, args[0], output))

        return keep

    with ExitStack() as stack:
        for name, module in model.net.named_modules():
            if name:
                stack.callback(module.register_forward_hook(hook(name)).remove)
        model.logits(x)
    return seen


def _passes(given: Tensor, made: Tensor) -> bool:
    """Whether anything comes back through a module."""
    try:
        (back,) = torch.autograd.grad(made.sum() + (made * made.detach()).sum(), given, retain_graph=True, allow_unused=True)
    except RuntimeError:
        return False
    return back is not None and bool(back.flatten(1).any(1).float().mean() > RARELY)


def _share(rows: Tensor) -> float:
    return float(rows.float().mean()) if len(rows) else 0.0
