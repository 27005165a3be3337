"""A model behind a preprocessing defense, and what an attack may take for its gradient: BPDA."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from saddlepoint.core.errors import InputError
from saddlepoint.core.model import checked_bounds
from saddlepoint.core.play import as_model
from saddlepoint.models.parts import Instead, Part, Wrapped


class Defended(Wrapped):
    """A model that sees `preprocess(x)`, and a stand-in for the gradient of `preprocess`: BPDA.

    Backward pass differentiable approximation: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of
    security", ICML 2018. Quantization, JPEG or a purifier give no gradient, or a useless one, and gradient attacks fail
    for that reason alone. Here the answer is always that of the true defense; only the way back differs. Use many small
    steps. Radii are of x, not of what the model sees.

    If `preprocess` is random, put an `ExpectationOver` around this model. If it is a projection onto the range of a
    generator, try `Reparameterized`, too. Before judging a defense, see that the attack still works on an undefended
    network behind it.

    Args:
        model: a Model, or a torch module of inputs in [0, 1].
        preprocess: from inputs (b, *shape) to what the model sees; a module runs in evaluation mode.
        backward: "identity" passes the gradient on as it comes, right where preprocess(x) is close to x and has its shape;
            "exact" differentiates `preprocess` itself; a function is differentiated in its place, and needs its shape of
            output only.
        bounds: of x, by default those of the model.

    Raises:
        InputError: an argument is not what it should be; or, at the first gradient, the stand-in has another shape.
    """

    def __init__(
        self,
        model: Any,
        preprocess: Callable[[Tensor], Tensor],
        backward: Literal["identity", "exact"] | Callable[[Tensor], Tensor] = "identity",
        *,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        if isinstance(backward, str) and backward not in ("identity", "exact"):
            raise InputError(f"backward must be 'identity', 'exact' or a function; got {backward!r}. Choose one of them.")
        self.model, self.preprocess = as_model(model), Part("preprocess", preprocess)
        self.backward = backward if isinstance(backward, str) else Part("backward", backward)
        super().__init__(self.model, self.preprocess, *([self.backward] if isinstance(self.backward, Part) else []))
        self.bounds = self.model.bounds if bounds is None else checked_bounds(bounds)

    def logits(self, x: Tensor) -> Tensor:
        return self.model.logits(self.prepared(x))

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(self.prepared(x.detach()))

    def prepared(self, x: Tensor) -> Tensor:
        """What the model sees of x, differentiable by the stand-in."""
        graded = x.requires_grad and torch.is_grad_enabled()
        exact = graded and self.backward == "exact"
        with torch.enable_grad():  # a purifier may descend by gradients of its own
            seen = self.preprocess(x if exact else x.detach())
        if exact:
            return seen
        if not graded:
            return seen.detach()
        stand_in = self.backward(x) if isinstance(self.backward, Part) else x
        if stand_in.shape != seen.shape:
            who = "backward" if isinstance(self.backward, Part) else "the identity"
            raise InputError(
                f"preprocess turns {tuple(x.shape)} into {tuple(seen.shape)} and {who} into {tuple(stand_in.shape)}. "
                "Give as backward a differentiable function with the shape of preprocess."
            )
        return Instead.apply(seen.detach(), stand_in)
