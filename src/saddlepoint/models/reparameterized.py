"""A model of the latent code of its inputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import InputError
from saddlepoint.core.model import checked_bounds
from saddlepoint.core.play import as_model
from saddlepoint.core.threat import Threat
from saddlepoint.models.parts import Part, Wrapped


class Reparameterized(Wrapped):
    """A model of z that answers as `model` does to x = decode(z): the attack searches z.

    Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", ICML 2018. A purifier g that
    projects onto the range of a generator by a long search has gradients that vanish or explode. But g(decode(z)) =
    decode(z) for every z, so whatever fools the classifier there passes the purifier unchanged. In practice the projection
    is imperfect: put this around the whole defense, `Reparameterized(Defended(model, purifier), decode, bounds)`, and wins
    are judged through it.

    To an attack, z is the input: the threat's radius is in units of z, and `result.x_adv` is a z. `nearest` finds where to
    start, `inputs` decodes, `size` tells how far from the original image the attack went. That distance is reported, not
    bounded.

    Args:
        model: a Model, or a torch module of inputs in [0, 1].
        decode: from z (b, *latent) to inputs, differentiable; a module runs in evaluation mode.
        bounds: lowest and highest value of z, as in (-3, 3) for a Gaussian prior.

    Raises:
        InputError: an argument is not what it should be.
    """

    def __init__(self, model: Any, decode: Callable[[Tensor], Tensor], bounds: tuple[float, float]) -> None:
        self.model, self.decode = as_model(model), Part("decode", decode)
        super().__init__(self.model, self.decode)
        self.bounds = checked_bounds(bounds)

    def logits(self, x: Tensor) -> Tensor:
        return self.model.logits(self.inputs(x))

    def labels(self, x: Tensor) -> Tensor:
        return self.model.labels(self.inputs(x.detach()))

    def inputs(self, z: Tensor) -> Tensor:
        """What is decoded from z, clipped to the bounds of the model."""
        return self.decode(z).clamp(*self.model.bounds)

    def size(self, threat: Threat, x: Tensor, z: Tensor) -> Tensor:
        """How far what is decoded from z (b, *latent) is from x (b, *shape), in the threat's units."""
        with self.session(), torch.no_grad():
            return threat.size(x, self.inputs(z))

    def nearest(self, x: Tensor, starts: Tensor, *, steps: int = 200, step_size: float = 0.05) -> Tensor:
        """For each x (b, *shape) the z whose input is nearest, by Adam from each of `starts` (s, *latent).

        The published break of Defense-GAN used 30 starts from the prior and 3000 steps of 0.1.

        Raises:
            InputError: starts are not within the bounds, or what is decoded has not the shape of x.
        """
        low, high = self.bounds
        if starts.dim() < 2 or not len(starts) or not ((starts >= low) & (starts <= high)).all():
            raise InputError(
                f"starts must be a batch (s, *latent) within [{low:g}, {high:g}]; got shape {tuple(starts.shape)}. "
                "Draw them from the prior, and clamp them."
            )
        b, s = len(x), len(starts)
        wanted = x.detach().expand(s, *x.shape).flatten(0, 1)
        z = starts.detach().to(x).repeat_interleave(b, 0).requires_grad_()
        optimizer = torch.optim.Adam([z], step_size)
        with self.session(), torch.enable_grad():
            for step in range(steps + 1):
                made = self.decode(z)
                if made.shape != wanted.shape:
                    raise InputError(f"decode must make inputs of shape {tuple(x.shape[1:])}; got {tuple(made.shape[1:])}.")
                error = (made - wanted).flatten(1).square().sum(1)
                if step < steps:
                    (z.grad,) = torch.autograd.grad(error.sum(), z)
                    optimizer.step()
                    z.data.clamp_(low, high)
        best = error.detach().view(s, b).argmin(0)
        return z.detach().unflatten(0, (s, b))[best, torch.arange(b, device=x.device)]
