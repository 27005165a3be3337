"""Convolution of few channels, as the first of a network is."""

from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]

BLOCK = 1 << 19  # numbers between product and fold: two megabytes, about what a core's cache holds
TAPS, ENOUGH = 9, 1 << 18  # of a kernel at most, and numbers to fold at least, for sums to cost less than torch's fold


class Convolution(torch.autograd.Function):
    """torch's conv2d, of which the gradient with respect to the input is a product with the weights, folded.

    torch's own takes as long for one channel as for sixteen. Gradients of gradients, and those of weights, are torch's.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
        return functional.conv2d(x, weight, bias, stride, padding, dilation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, *ctx.how = inputs
        ctx.save_for_backward(x, weight)
        ctx.offsets = None if bias is None else list(bias.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.how
        wanted = ctx.needs_input_grad
        of_x = folded(gradient, weight, x.shape[2:], stride, padding, dilation) if wanted[0] else None
        of_weight = of_bias = None
        if any(wanted[1:3]):
            _, of_weight, of_bias = torch.ops.aten.convolution_backward(
                gradient, x, weight, ctx.offsets, stride, padding, dilation, False, [0, 0], 1, [False, *wanted[1:3]]
            )
        return of_x, of_weight, of_bias, None, None, None


def folded(gradient: Tensor, weight: Tensor, size: torch.Size, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """The gradient with respect to inputs of a height and width, from that with respect to the output (b, o, *)."""
    taps, cells = weight.shape[2:], gradient.shape[2:]
    rows = max(1, BLOCK // (weight.shape[1:].numel() * cells.numel()))
    if len(gradient) > rows:
        return torch.cat([folded(part, weight, size, stride, padding, dilation) for part in gradient.split(rows)])
    back = weight.flatten(1).T.expand(len(gradient), -1, -1)  # not broadcast: `@` by weights in training copies the rest
    products = torch.bmm(back, gradient.flatten(2))
    if taps.numel() <= TAPS and products.numel() >= ENOUGH:
        return shifted(products.view(len(products), -1, *taps, *cells), size, stride, padding, dilation)
    return functional.fold(products, size, taps, dilation, padding, stride)


def shifted(products: Tensor, size: torch.Size, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """The fold of (b, c, *taps, *cells), each tap added to all images at once."""
    taps, cells = products.shape[2:4], products.shape[4:]
    padded = products.new_zeros(*products.shape[:2], *(n + 2 * p for n, p in zip(size, padding, strict=True)))
    for i, j in product(*map(range, taps)):
        first = i * dilation[0], j * dilation[1]
        y, x = (slice(f, f + s * (n - 1) + 1, s) for f, s, n in zip(first, stride, cells, strict=True))
        padded[:, :, y, x] += products[:, :, i, j]
    y, x = (slice(p, p + n) for p, n in zip(padding, size, strict=True))
    return padded[:, :, y, x].contiguous()


def conv2d(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "o c *kernel"],
    bias: Float[Tensor, " o"] | None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Float[Tensor, "b o *out"]:
    """As `torch.nn.functional.conv2d`, with a cheaper gradient where `x` has far fewer channels than what comes out."""
    plain = not x.requires_grad or x.dim() != 4 or not len(x)
    if plain or x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type):
        return functional.conv2d(x, weight, bias, stride, padding, dilation)
    convolved: Tensor = Convolution.apply(x, weight, bias, stride, padding, dilation)  # type: ignore[no-untyped-call]
    return convolved
