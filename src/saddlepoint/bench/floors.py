"""The loops that one would write by hand: no search can cost less than its own passes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid


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


def universal(net: nn.Module, x: Tensor, y: Tensor, *, eps: float, epochs: int, batch: int, momentum: float) -> Tensor:
    """Momentum steps of one change down soft steps of the margin, a mini-batch a step; the best pass of the second half."""
    net.requires_grad_(False)
    with torch.no_grad():
        clean = net(x)
    y, scale = clean.argmax(1), (clean.amax(1) - clean.mean(1)) / 15
    best = delta = velocity = torch.zeros_like(x[:1])
    most = 0
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(batch):
            each = delta.expand(len(rows), *x.shape[1:]).clone().requires_grad_()
            logits, truth = net((x[rows] + each).clamp(0, 1)) / scale[rows, None], y[rows, None]
            margin = logits.gather(1, truth).squeeze(1) - logits.scatter(1, truth, -torch.inf).amax(1)
            weight = (logsigmoid(margin.detach()) + logsigmoid(-margin.detach())).softmax(0)
            (gradient,) = torch.autograd.grad((weight * margin).sum(), each)
            gradient = gradient.sum(0, keepdim=True)
            velocity = momentum * velocity + gradient / gradient.abs().mean()
            delta = (delta - eps * velocity.sign()).clamp(-eps, eps)
        if epoch < epochs // 2:
            continue
        with torch.no_grad():
            fooled = int((net((x + delta).clamp(0, 1)).argmax(1) != y).sum())
        if fooled > most:
            best, most = delta, fooled
    return (x + best).clamp(0, 1)


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
