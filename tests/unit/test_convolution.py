"""A convolution of few channels has torch's answers and torch's gradients, of every kind."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import saddlepoint as sp
from saddlepoint.models import layout
from saddlepoint.ops import convolution
from saddlepoint.ops.convolution import conv2d

SHAPES = [  # channels in and out, kernel, stride, padding, dilation
    (1, 16, (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 32, (5, 3), (2, 1), (2, 0), (1, 1)),
    (2, 20, (3, 3), (2, 3), (0, 4), (2, 1)),
]
Ours = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@pytest.fixture(params=SHAPES, ids=str)
def made(request: pytest.FixtureRequest) -> tuple[Ours, Ours, list[Tensor]]:
    """Ours, torch's, and inputs, weights and offsets in double precision."""
    entering, leaving, kernel, stride, padding, dilation = request.param
    torch.manual_seed(0)
    tensors = [torch.randn(s, dtype=torch.float64) for s in ((4, entering, 11, 9), (leaving, entering, *kernel), (leaving,))]
    ours = lambda x, w, b: conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation)  # noqa: E731
    torchs = lambda x, w, b: functional.conv2d(x, w, b, stride, padding, dilation)  # noqa: E731
    return ours, torchs, [t.requires_grad_() for t in tensors]


@pytest.fixture(params=[False, True], ids=["fold", "sums"])
def sums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are folded by torch, or by sums."""
    monkeypatch.setattr(convolution, "TAPS", 100 * request.param)
    monkeypatch.setattr(convolution, "ENOUGH", 0)


@pytest.mark.usefixtures("sums")
@pytest.mark.parametrize("block", [1, 1 << 18])  # one row at a time, and all at once
@pytest.mark.parametrize("last", [False, True])
def test_as_torch_computes_it(
    made: tuple[Ours, Ours, list[Tensor]], block: int, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "BLOCK", block)
    ours, torchs, tensors = made
    if last:
        tensors[1] = tensors[1].detach().to(memory_format=torch.channels_last).requires_grad_()
    for offsets in (tensors[2], None):
        wanted = [t for t in (*tensors[:2], offsets) if t is not None]
        found, expected = ours(*tensors[:2], offsets), torchs(*tensors[:2], offsets)
        assert found.equal(expected)
        slopes = torch.autograd.grad(found.square().sum(), wanted), torch.autograd.grad(expected.square().sum(), wanted)
        assert all(a.allclose(b) for a, b in zip(*slopes, strict=True))


@pytest.mark.usefixtures("sums")
def test_gradients_of_gradients(made: tuple[Ours, Ours, list[Tensor]]) -> None:
    ours, _, tensors = made
    assert torch.autograd.gradgradcheck(ours, tensors)


@pytest.mark.usefixtures("sums")
def test_one_example_at_a_time_by_vmap(made: tuple[Ours, Ours, list[Tensor]]) -> None:
    (ours, torchs, tensors), slopes = made, []
    x, weight, offsets = (t.detach() for t in tensors)
    for convolve in (ours, torchs):
        slope = torch.func.grad(lambda one, convolve=convolve: convolve(one[None], weight, offsets).square().sum())
        slopes.append(torch.func.vmap(slope)(x))
    assert slopes[0].allclose(slopes[1])


def eased(net: nn.Module) -> bool:
    """Whether the network's first convolution is computed that way in a session."""
    model = sp.TorchModel(net)
    with model.session():
        model.logits(torch.rand(2, net[0].in_channels, 12, 12))
        inside = "_conv_forward" in vars(net[0])
        copy.deepcopy(net)(torch.rand(2, net[0].in_channels, 12, 12))  # it can still be copied
    assert "_conv_forward" not in vars(net[0])
    return inside


class Rescaled(nn.Conv2d):
    """Computes it in its own way."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return 2 * super()._conv_forward(x, weight, bias)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (nn.Conv2d(1, 16, 3), True),
        (nn.Conv2d(3, 64, 7, stride=2, padding=3), True),
        (nn.Conv2d(3, 16, 3), False),  # costs as much
        (nn.Conv2d(4, 64, 3), False),
        (nn.Conv2d(1, 16, 3, padding="same"), False),
        (nn.Conv2d(1, 16, 3, padding=1, padding_mode="reflect"), False),
        (Rescaled(1, 16, 3), False),
    ],
    ids=["digits", "photographs", "few out", "many in", "same", "reflect", "subclass"],
)
def test_which_convolutions(first: nn.Conv2d, expected: bool) -> None:
    assert eased(nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())) is expected


def test_an_attack_finds_the_same_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 144, 5))
    x = torch.rand(20, 1, 12, 12)
    y = net(x).argmax(1)
    with_products = sp.attack(net, x, y, "l2", sp.attacks.DDN(steps=10))
    monkeypatch.setattr(layout, "of_few_channels", lambda _: False)
    without = sp.attack(net, x, y, "l2", sp.attacks.DDN(steps=10))
    assert (with_products.x_adv - without.x_adv).abs().max() < 1e-4
