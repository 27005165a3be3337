"""On a CPU the weights of convolutions lie with their channels last while a network is attacked, if it bears that."""

import copy

import pytest
import torch
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint.data.dataset import Arrays
from saddlepoint.models import layout
from saddlepoint.models.zoo import SmallCNN

LAST = torch.channels_last


class Views(nn.Module):
    """Takes a view of what a convolution returns, as many networks do: no good with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 3, 3), nn.Linear(3 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(len(x), -1))


class Strict(torch.autograd.Function):
    """Forward anything, backward a view."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.view(-1).clone().view(gradient.shape)


class BackwardViews(Views):
    """The same in the backward pass alone."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.after(Strict.apply(self.conv(x))).flatten(1))


class Telltale(Views):
    """Computes something else from how its weights lie."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1)) * (1 + self.conv.weight.stride(1))


class Plain(Views):
    """Bears it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).flatten(1))


def made(kind: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return kind(), torch.rand(6, 1, 8, 8)


def lies_last(net: nn.Module, x: Tensor) -> bool:
    """Whether the weights lie that way in a session, after the first question."""
    model = sp.TorchModel(net)
    with model.session():
        model.logits(x)
        weight = net.get_parameter("conv.weight")
        return weight.stride() == torch.empty_like(weight, memory_format=LAST).stride()


def test_turned_in_a_session_and_back_afterwards() -> None:
    net, x = made(Plain)
    weight = net.get_parameter("conv.weight")
    data, values, stride = weight.data_ptr(), weight.detach().clone(), weight.stride()
    assert lies_last(net, x)
    assert net.get_parameter("conv.weight") is weight
    assert (weight.data_ptr(), weight.stride()) == (data, stride)
    assert weight.equal(values)


@pytest.mark.parametrize("kind", [Views, BackwardViews, Telltale])
def test_not_where_the_network_does_not_bear_it(kind: type[nn.Module]) -> None:
    net, x = made(kind)
    assert not lies_last(net, x)
    found = sp.attack(net, x, net(x).argmax(1), "linf:0.3", sp.attacks.PGD(steps=5))
    assert len(found) == len(x)


def test_turned_back_where_another_path_does_not_bear_it() -> None:
    net, x = made(Plain)
    assert lies_last(net, x)
    net.forward = lambda x: net.head(net.conv(x).view(len(x), -1))
    found = sp.attack(net, x, net(x).argmax(1), "linf:0.3", sp.attacks.PGD(steps=5))
    assert len(found) == len(x)
    assert not lies_last(net, x)


def test_a_loss_from_before_can_still_be_differentiated() -> None:
    net, x = made(Plain)
    loss = net(x).square().sum()
    (expected,) = torch.autograd.grad(loss, net.get_parameter("conv.weight"), retain_graph=True)
    sp.attack(net, x, net(x).argmax(1), "linf:0.3", sp.attacks.PGD(steps=5))
    loss.backward()
    assert net.get_parameter("conv.weight").grad.allclose(expected)


def test_asked_once_a_network_and_randomness_left_alone() -> None:
    net, x = made(Plain)
    seen: list[int] = []
    net.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    state = torch.get_rng_state()
    for _ in range(2):
        assert lies_last(net, x)
    assert seen == [1, 1, 6, 6]
    assert torch.get_rng_state().equal(state)


def test_one_layout_for_sessions_within_each_other() -> None:
    net, x = made(Plain)
    model, weight = sp.TorchModel(net), net.get_parameter("conv.weight")
    stride = weight.stride()
    with model.session():
        with model.session():
            model.logits(x)
        assert weight.stride() != stride
    assert weight.stride() == stride


def test_back_after_an_error_with_the_values_of_then() -> None:
    net, x = made(Plain)
    model, weight = sp.TorchModel(net), net.get_parameter("conv.weight")
    stride, changed = weight.stride(), weight.detach() + 1

    def interrupted() -> None:
        with model.session():
            model.logits(x)
            with torch.no_grad():
                weight.add_(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert weight.stride() == stride
    assert weight.equal(changed)


def test_the_same_attack_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = SmallCNN().eval(), torch.rand(20, 1, 28, 28)
    y = net(x).argmax(1)
    turned = sp.attack(net, x, y, "l2", sp.attacks.DDN(steps=10))
    monkeypatch.setattr(layout.ChannelsLast, "kernels", lambda _: [])
    plain = sp.attack(copy.deepcopy(net), x, y, "l2", sp.attacks.DDN(steps=10))
    assert (turned.x_adv - plain.x_adv).abs().max() < 1e-4


def test_training_turns_them_too() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    stride, seen = net[0].weight.stride(), []
    data = Arrays("noise", torch.rand(8, 1, 8, 8).numpy(), torch.arange(8).remainder(4).numpy())
    sp.Trainer(epochs=1, batch=4).fit(net, data, on_epoch=lambda *_: seen.append(net[0].weight.stride()))
    assert seen == [torch.empty(3, 1, 3, 3, memory_format=LAST).stride()]
    assert net[0].weight.stride() == stride
    assert int(net[1].num_batches_tracked) == 2  # the look beforehand has left them alone


class Watched(nn.Module):
    """Keeps what its layers make."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.head, self.how, self.kept = nn.Linear(48, 4), how, []
        if how == "hooks":
            for layer in self.layers:
                layer.register_forward_hook(lambda _, __, made: self.kept.append(made))

    def forward(self, x: Tensor) -> Tensor:
        self.kept = []
        for layer in self.layers if self.how == "one by one" else [self.layers]:
            x = layer(x)
            if self.how == "one by one":
                self.kept.append(x)
        return self.head(x.flatten(1))


@pytest.mark.parametrize(("how", "overwritten"), [("together", 2), ("one by one", 0), ("hooks", 0)])
def test_relu_is_done_in_place_where_nobody_can_tell(how: str, overwritten: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = Watched(how).eval(), torch.rand(6, 1, 8, 8)
    expected, done = net(x), []
    before = [made.clone() for made in net.kept]
    model = sp.TorchModel(net)
    with model.session():
        model.logits(x)
        monkeypatch.setattr(layout, "relu_", lambda made: done.append(made) or made.relu_())
        assert model.logits(x).allclose(expected, atol=1e-6)
        assert len(done) == overwritten
        assert len(net.kept) == (0 if how == "together" else 5)
        assert all(made.allclose(then, atol=1e-6) for made, then in zip(net.kept, before, strict=True))
    assert "forward" not in vars(net.layers)


def test_relu_does_not_overwrite_an_input() -> None:
    torch.manual_seed(0)
    parts = nn.Sequential(nn.ReLU(), nn.Identity(), nn.ReLU(), nn.Conv2d(1, 3, 3), nn.ReLU())
    x = torch.randn(2, 1, 8, 8).requires_grad_()
    slopes = [torch.autograd.grad(answer.square().sum(), x)[0] for answer in (layout.in_turn(parts, x), parts(x))]
    assert slopes[0].equal(slopes[1])


@pytest.mark.parametrize("kind", ["scripted", "lazy", "flat inputs"])
def test_what_it_leaves_alone(kind: str) -> None:
    net, x = made(Plain)
    if kind == "scripted":
        assert not layout.ChannelsLast(torch.jit.script(net)).kernels()
    elif kind == "lazy":
        assert not layout.ChannelsLast(nn.LazyConv2d(3, 3)).kernels()
    else:
        turner = layout.ChannelsLast(net)
        turner.offer(net, x.flatten(1))
        assert not turner.before
