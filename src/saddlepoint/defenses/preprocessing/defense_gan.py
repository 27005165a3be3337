"""Defense-GAN: projection onto the range of a generator."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy


class DefenseGAN(nn.Module):
    """Replaces an image by the nearest one that a generator can make, found by a long descent over the latent code.

    Samangouei, Kabkab and Chellappa, "Defense-GAN: protecting classifiers against adversarial attacks using generative
    models", ICLR 2018. The descent, from several starts at once, is cut off from the gradient; unrolled, its gradient would
    vanish or explode.

    Args:
        decode: the generator, from codes (b, latent) of a standard normal prior to images; trained already.
        latent: numbers in a code.
        restarts: starts, of which the one with the smallest error is taken.
        steps: of each descent.
        step_size: of Adam.

    Deviations: Adam in place of momentum with decay, and fewer steps than the paper's 200. The generator of the gallery is
    the decoder of a `VAE`.
    """

    def __init__(self, decode: nn.Module, latent: int, restarts: int = 4, steps: int = 60, step_size: float = 0.1) -> None:
        super().__init__()
        self.decode, self.latent, self.restarts, self.steps, self.step_size = decode, latent, restarts, steps, step_size

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.code(x)).detach()

    def code(self, x: Tensor) -> Tensor:
        """(b, latent): the code whose image is nearest."""
        wanted = x.detach().expand(self.restarts, *x.shape)
        z = torch.randn(self.restarts, len(x), self.latent, dtype=x.dtype, device=x.device).requires_grad_()
        solver = torch.optim.Adam([z], self.step_size)
        with torch.enable_grad():
            for step in range(self.steps + 1):
                made = self.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
                error = (made - wanted).flatten(2).square().sum(2)
                if step < self.steps:
                    (z.grad,) = torch.autograd.grad(error.sum(), z)
                    solver.step()
        return z.detach()[error.argmin(0), torch.arange(len(x), device=x.device)]

    def extra_repr(self) -> str:
        return f"latent={self.latent}, restarts={self.restarts}, steps={self.steps}, step_size={self.step_size}"


class VAE(nn.Module):
    """A variational autoencoder of fully connected layers: Kingma and Welling, ICLR 2014.

    Args:
        shape: (c, h, w) of an image in [0, 1].
        latent: numbers in a code.
        width: of the hidden layers.
    """

    def __init__(self, shape: Any = (1, 28, 28), latent: int = 16, width: int = 256) -> None:
        super().__init__()
        pixels = shape[0] * shape[1] * shape[2]
        self.latent = latent
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, 2 * latent))
        self.decode = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, pixels), nn.Sigmoid(), nn.Unflatten(1, tuple(shape))
        )

    def loss(self, x: Tensor) -> Tensor:
        """Mean over the images of what the evidence lower bound falls short of zero."""
        mean, log_var = self.encode(x).chunk(2, 1)
        made = self.decode(mean + (log_var / 2).exp() * torch.randn_like(mean))
        divergence = (mean.square() + log_var.exp() - 1 - log_var).sum() / 2
        return (binary_cross_entropy(made, x, reduction="sum") + divergence) / len(x)
