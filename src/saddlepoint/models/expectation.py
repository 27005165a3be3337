"""The mean answer of a randomized model: expectation over transformation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from saddlepoint.core.answers import checked_answers, checked_logits
from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Access
from saddlepoint.core.noise import Noise, mix
from saddlepoint.core.play import as_model, check_settings
from saddlepoint.models.parts import OPEN, Part, Wrapped, answered, averaged, chosen, elected, tally
from saddlepoint.models.train import isolated_randomness


class ExpectationOver(Wrapped):
    """The mean answer of `draws` passes through a randomized model, or of one model under random transformations.

    Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial examples", ICML 2018: a gradient of the mean is the
    mean gradient, so any attack on this model attacks the expectation, and wins when the mean answer is wrong. An attack
    on the randomized model itself leaves at the first lucky draw, and what it found does not repeat.

    To see what an attack is worth, ask many draws of another seed: `ExpectationOver(model, 200, seed=1).labels(x_adv)`.

    Randomness. With `transform`, draws are keyed by `seed` and by the bits of the input: equal inputs draw equal numbers,
    in any batch, and outside sessions, too; where another batch rounds a step otherwise, draws differ from there on.
    `labels` draws others than `logits`, so what an attack by scores or gradients found is re-checked on draws it has not
    seen. A model that draws by itself cannot be keyed so. Within a session torch's
    global generators start at `seed` and are afterwards as they were: the same run gives the same answers, but another
    split into batches does not. What draws elsewhere (numpy, a service) is not seeded at all, and what `eval()` turns off,
    such as dropout, stays off.

    A vote ends when the draws that are left could not change the answer, so a clear one takes half of them.

    Args:
        model: a Model, or a torch module of inputs in [0, 1].
        draws: passes an answer; a game counts them as one. 10 to 30 are usual, 100 for strong noise.
        transform: from inputs (b, *shape) and a `Noise` with a stream for each of them (`noise.uniform(1)` is (b, 1)) to
            inputs, differentiable if gradients are to be used; None for a model that draws by itself.
        over: what is averaged: "logits", "probabilities" (the logits of this model are the logarithms of their mean) or
            "votes" (this model gives labels only). By default logits, or votes where the model gives labels only.
        together: put all draws to the model as one batch of b * draws rows. This is right only if every row of a batch
            draws for itself. By default so with `transform`, and one pass a draw without, which is always right.
        seed: of the draws.

    Raises:
        InputError: an argument is not what it should be.
    """

    def __init__(
        self,
        model: Any,
        draws: int = 20,
        *,
        transform: Callable[[Tensor, Noise], Tensor] | None = None,
        over: Literal["logits", "probabilities", "votes"] | None = None,
        together: bool | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(draws, int) or isinstance(draws, bool) or draws < 1:
            raise InputError(f"draws must be an integer of at least 1; got {draws!r}. Write draws=20, say.")
        check_settings(seed, 1, None)
        self.model, self.draws, self.seed = as_model(model), draws, seed
        self.transform = None if transform is None else Part("transform", transform)
        super().__init__(self.model, *([] if self.transform is None else [self.transform]))
        self.bounds = self.model.bounds
        self.over = chosen(over, "the model", self.access < Access.SCORES)
        self.access = min(self.access, Access.LABELS) if self.over == "votes" else self.access
        self.together = transform is not None if together is None else together

    def logits(self, x: Tensor) -> Tensor:
        self.require(Access.SCORES, "logits", "Ask for labels.")
        return self._mean(x, "logits")

    def labels(self, x: Tensor) -> Tensor:
        if self.over == "votes":
            return self._elected(x)
        return answered(self._mean(x, "labels"))

    @contextmanager
    def session(self) -> Iterator["ExpectationOver"]:
        with isolated_randomness(), super().session():
            torch.manual_seed(self.seed % 2**63)
            yield self

    def _mean(self, x: Tensor, stream: str) -> Tensor:
        answers = self._ask(lambda rows: checked_logits(self.model.logits, rows), x, range(self.draws), stream)
        return averaged(answers, torch.full((self.draws,), 1 / self.draws, dtype=torch.float64), self.over)

    def _elected(self, x: Tensor) -> Tensor:
        """The answer (b,) of most draws; where those that are left could not change it, they are not asked."""
        votes = torch.full((self.draws, len(x)), OPEN, device=x.device)
        weights, rows = torch.ones(self.draws), torch.arange(len(x), device=x.device)
        asked, more = 0, self.draws // 2 + 1
        while len(rows):
            drawn = range(asked, asked + more)
            answers = self._ask(lambda x: checked_answers(self.model, x), x[rows], drawn, "labels")
            votes[asked : asked + more, rows] = answers.clamp_min(-1)
            asked += more
            first, second = tally(votes, weights).topk(2).values.long().T
            slack = self.draws - asked - (first - second)
            rows = ((slack >= 0) & (votes != -1).all(0)).nonzero().squeeze(1) if asked < self.draws else rows[:0]
            more = int(slack[rows].amin()) // 2 + 1 if len(rows) else 0  # the fewest that could settle one of them
        return elected(votes, weights)

    def _ask(self, question: Callable[[Tensor], Tensor], x: Tensor, draws: range, stream: str) -> Tensor:
        """Answers (draws, b, ...) by some of the draws."""
        if self.transform is None:
            keys = torch.zeros(len(draws), len(x))
        else:
            keys = mix(_fingerprint(x) + mix(torch.tensor(draws))[:, None])
        if self.together:
            rows = x.expand(len(draws), *x.shape).flatten(0, 1)
            return question(self._drawn(rows, keys.flatten(), stream)).unflatten(0, (len(draws), len(x)))
        return torch.stack([question(self._drawn(x, key, stream)) for key in keys])

    def _drawn(self, x: Tensor, keys: Tensor, stream: str) -> Tensor:
        return x if self.transform is None else self.transform(x, Noise(self.seed, keys, stream, x.device))


def _fingerprint(x: Tensor) -> Tensor:
    """An integer (b,) that depends on the bits of every input, and on nothing else."""
    bits = (x.detach() + 0.0).flatten(1).view(torch.int32 if x.dtype is torch.float32 else torch.int64)  # -0 is 0
    return (bits * (mix(torch.arange(bits.shape[1])) | 1).to(x.device)).sum(1).cpu()
