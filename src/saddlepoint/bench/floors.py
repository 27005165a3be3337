"""The loops that one would write by hand: no search can cost less than its own passes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def pgd(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, step_size: float, steps: int) -> Tensor:
    """Sign steps up the cross entropy from a random point, clipped to the l-inf ball and to [0, 1]."""
    x_adv = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(net(x_adv), y, reduction="sum"), x_adv)
        moved = x_adv.detach() + step_size * gradient.sign()
        x_adv = torch.min(torch.max(moved, x - eps), x + eps).clamp(0, 1)
    return x_adv


def ddn(net: nn.Module, x: Tensor, y: Tensor, *, steps: int) -> Tensor:
    """Steps of l-2 norm one, cosine down to 0.01, on a sphere that shrinks by 5 % after a win and grows by 5 % otherwise."""
    column = (-1, *(1,) * (x.dim() - 1))
    best, nearest = x.clone(), torch.full((len(x),), torch.inf)
    delta, radius = torch.zeros_like(x), torch.ones(len(x))
    for step in range(steps):
        delta.requires_grad_()
        logits = net(x + delta)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, y, reduction="sum"), delta)
        delta = delta.detach()
        size, won = delta.flatten(1).norm(dim=1), logits.argmax(1) != y
        better = won & (size < nearest)
        nearest, best = torch.where(better, size, nearest), torch.where(better.view(column), x + delta, best)
        radius = radius * torch.where(won, 0.95, 1.05)
        length = 0.01 + 0.495 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)))
        delta = delta + length * gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(column)
        delta = delta * (radius / delta.flatten(1).norm(dim=1).clamp_min(1e-12)).view(column)
        delta = (x + delta).clamp(0, 1) - x
    return best


def madry(
    net: nn.Module, x: Tensor, y: Tensor, *, eps: float, step_size: float, steps: int, batch: int, learning_rate: float
) -> Tensor:
    """One pass of adversarial training over all inputs, in random order; trains in place and returns the inputs."""
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    for rows in torch.randperm(len(x)).split(batch):
        net.eval().requires_grad_(False)  # a careful author pays for no gradient of a weight here
        x_adv = pgd(net, x[rows], y[rows], eps=eps, step_size=step_size, steps=steps)
        net.train().requires_grad_(True)
        optimizer.zero_grad()
        cross_entropy(net(x_adv), y[rows]).backward()
        optimizer.step()
    return x
