"""Threats of a few parameters: what rotation, move, flow and color do to an image, in closed form."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import saddlepoint as sp
from saddlepoint.attacks.decision.grid_search import GridSearch
from saddlepoint.attacks.decision.random_search import RandomSearch
from saddlepoint.attacks.gradient.pgd import PGD
from saddlepoint.attacks.gradient.st_adv import StAdv
from saddlepoint.core.config import from_json, to_json
from saddlepoint.core.errors import ConfigError, InputError
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_threat
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.threats import Color, Flow, Parametric, Spatial

ALL = [Spatial(), Flow(), Flow(2.0, cells=3), Color()]


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return Noise(1, torch.arange(shape[0])).uniform(*shape[1:], dtype=torch.float64).to(dtype)


def made(threat: Parametric, x: Tensor, *theta: float) -> Tensor:
    """The same theta for every row."""
    return threat.apply(x, torch.tensor(theta, dtype=x.dtype).expand(len(x), -1))


@pytest.mark.parametrize("threat", ALL, ids=str)
@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (2, 3, 9, 14), (1, 3, 5, 1), (0, 3, 6, 6)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_changes_nothing(threat: Parametric, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = images(*shape, dtype=dtype)
    zero = threat.zero(x)
    assert zero.shape == (len(x), *threat.parameters(x))
    same = threat.apply(x, zero)
    assert same.dtype == dtype
    exact = 1e-6 if isinstance(threat, Color) else 0  # colors go through a matrix and back
    torch.testing.assert_close(same, x, rtol=0, atol=exact)
    assert (threat.size(x, same, zero) == 0).all()


@pytest.mark.parametrize("threat", ALL, ids=str)
def test_random_starts_fill_the_limits_and_projection_keeps_them(threat: Parametric) -> None:
    x = images(50, 3, 6, 6)
    start = threat.start(x, Noise(0, torch.arange(50)), (0.0, 1.0))
    assert start.shape == (50, *threat.parameters(x))
    assert start.min() >= -1
    assert start.max() <= 1
    assert start.amax(0).min() > 0.5
    assert start.amin(0).max() < -0.5
    assert torch.equal(threat.project(x, start, (0.0, 1.0)), start)
    assert threat.contains(x, x, threat.project(x, 9 * start, (0.0, 1.0))).all()
    assert not threat.contains(x, x, 1 + start.abs()).any()


# -- rotation and move -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("share", "turns"), [(1.0, -1), (-1.0, 1)])
def test_right_angles_are_exact_and_clockwise(side: int, share: float, turns: int) -> None:
    x = images(2, 3, side, side, dtype=torch.float64)
    turned = made(Spatial(rotation=90, translation=0), x, share, 0, 0)
    torch.testing.assert_close(turned, torch.rot90(x, turns, (2, 3)))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 7, 12)], ids=str)
def test_half_a_turn_of_any_image(shape: tuple[int, ...]) -> None:
    x = images(*shape, dtype=torch.float64)
    torch.testing.assert_close(made(Spatial(rotation=180), x, 1, 0, 0), x.flip(2, 3))


def test_whole_moves_are_shifts_and_fill_what_enters() -> None:
    x = images(2, 3, 6, 9, dtype=torch.float64)
    moved = made(Spatial(rotation=0, translation=4, fill=0.7), x, 0, 0.5, -0.25)  # 2 down, 1 to the left
    assert torch.equal(moved[:, :, 2:, :-1], x[:, :, :-2, 1:])
    assert (moved[:, :, :2] == 0.7).all()
    assert (moved[..., -1] == 0.7).all()
    gone = made(Spatial(rotation=0, translation=20, fill=0.7), x, 0, 1, 1)
    assert (gone == 0.7).all()


def test_it_turns_about_the_middle_first_and_moves_then() -> None:
    x = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    x[0, 0, 3, 5] = 1  # right of the middle
    moved = made(Spatial(rotation=90, translation=1), x, 1, 1, 0)  # clockwise: below the middle; then 1 down
    assert moved[0, 0, 6, 3] == pytest.approx(1)
    assert moved.sum() == pytest.approx(1)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    x = images(1, 1, 4, 6, dtype=torch.float64)
    moved = made(Spatial(rotation=0, translation=1), x, 0, 0, 0.5)
    torch.testing.assert_close(moved[..., 1:], (x[..., 1:] + x[..., :-1]) / 2)
    torch.testing.assert_close(moved[..., 0], x[..., 0] / 2)


# -- flow ------------------------------------------------------------------------------------------------------------


def test_flow_of_one_cell_is_a_move_that_repeats_the_border() -> None:
    x = images(2, 3, 6, 9, dtype=torch.float64)
    theta = torch.tensor([1.0, -0.5], dtype=torch.float64).view(1, 2, 1, 1).expand(2, -1, -1, -1)
    moved = Flow(2.0, cells=1).apply(x, theta)  # every pixel is taken from 2 below and 1 to the left
    torch.testing.assert_close(moved[:, :, :-2, 1:], x[:, :, 2:, :-1])
    torch.testing.assert_close(moved[:, :, -2:, 1:], x[:, :, -1:, :-1].expand(-1, -1, 2, -1))
    torch.testing.assert_close(moved[:, :, :-2, 0], x[:, :, 2:, 0])


def test_flow_moves_each_pixel_by_itself() -> None:
    x = images(1, 1, 5, 5, dtype=torch.float64)
    theta = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    theta[0, 0, 2, 2], theta[0, 1, 2, 2] = -1, 0.5
    moved = Flow(1.0).apply(x, theta)
    assert moved[0, 0, 2, 2] == pytest.approx(float((x[0, 0, 1, 2] + x[0, 0, 1, 3]) / 2))
    others = torch.ones(5, 5, dtype=torch.bool)
    others[2, 2] = False
    torch.testing.assert_close(moved[..., others], x[..., others])


def test_cells_are_the_corners_of_a_bilinear_field() -> None:
    x = images(1, 1, 5, 9, dtype=torch.float64)
    theta = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]], [[-1.0, -1.0], [1.0, 1.0]]]], dtype=torch.float64)
    down, right = Flow(3.0, cells=2).field(x, theta)[0]
    torch.testing.assert_close(down, torch.linspace(0, 3, 9, dtype=torch.float64).expand(5, 9))
    torch.testing.assert_close(right, torch.linspace(-3, 3, 5, dtype=torch.float64)[:, None].expand(5, 9))


def test_roughness_is_the_flow_loss_of_the_paper() -> None:
    x = images(2, 1, 4, 5, dtype=torch.float64)
    theta = images(2, 2, 4, 5, dtype=torch.float64)
    u, v = (3 * theta).unbind(1)
    by_hand = torch.zeros(2, dtype=torch.float64)
    for i in range(4):
        for j in range(5):
            for k, m in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if 0 <= k < 4 and 0 <= m < 5:
                    by_hand += ((u[:, i, j] - u[:, k, m]) ** 2 + (v[:, i, j] - v[:, k, m]) ** 2 + 1e-8).sqrt()
    torch.testing.assert_close(Flow(3.0).roughness(x, theta), by_hand)
    still = Flow(3.0).zero(x).requires_grad_()
    (slope,) = torch.autograd.grad(Flow(3.0).roughness(x, still).sum(), still)
    assert torch.equal(slope, torch.zeros_like(slope))
    assert torch.equal(Spatial().roughness(x, Spatial().zero(x)), torch.zeros(2, dtype=torch.float64))


# -- color -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_is_added_to_every_channel(channels: int) -> None:
    x = images(2, channels, 4, 5, dtype=torch.float64)
    rest = (0.0, 0.0) if channels == 3 else ()
    torch.testing.assert_close(made(Color(brightness=0.2), x, 0.5, 0, *rest), x + 0.1, rtol=0, atol=1e-12)


def test_contrast_spreads_the_luma_about_its_mean_and_keeps_the_color() -> None:
    gray = images(2, 1, 4, 5, dtype=torch.float64)
    middle = gray.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(made(Color(contrast=0.3), gray, 0, -1), middle + 0.7 * (gray - middle))
    x = images(2, 3, 4, 5, dtype=torch.float64)
    changed = made(Color(contrast=0.3), x, 0, 1, 0, 0)
    luma, after = (luma_of(v) for v in (x, changed))
    middle = luma.mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(after, middle + 1.3 * (luma - middle))
    torch.testing.assert_close(changed - after[:, None], x - luma[:, None], rtol=0, atol=1e-12)


def luma_of(x: Tensor) -> Tensor:
    return 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]


def test_saturation_of_minus_one_is_gray() -> None:
    x = images(2, 3, 4, 5, dtype=torch.float64)
    gray = made(Color(saturation=1), x, 0, 0, 0, -1)
    torch.testing.assert_close(gray, luma_of(x)[:, None].expand_as(x), rtol=0, atol=1e-12)


def test_hue_turns_a_full_circle_keeps_the_luma_and_gray() -> None:
    x = images(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(made(Color(hue=360), x, 0, 0, 1, 0), x, rtol=0, atol=1e-12)
    turned = made(Color(hue=120), x, 0, 0, 1, 0)
    torch.testing.assert_close(luma_of(turned), luma_of(x))
    assert (turned - x).abs().max() > 0.1
    half = made(Color(hue=180), x, 0, 0, 1, 0)
    torch.testing.assert_close(half, 2 * luma_of(x)[:, None] - x, rtol=0, atol=1e-12)  # the complementary color
    gray = x[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(made(Color(), gray, 0, 0, 1, 1), gray, rtol=0, atol=1e-6)


# -- as threats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threat", ALL, ids=str)
def test_gradients_are_those_of_finite_differences(threat: Parametric) -> None:
    x = images(2, 3, 5, 6, dtype=torch.float64)
    theta = 0.31 * threat.start(x, Noise(3, torch.arange(2)), (0.0, 1.0)) + 0.05
    assert torch.autograd.gradcheck(lambda t: threat.apply(x, t), (theta.requires_grad_(),), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    "threat",
    [*ALL, Spatial(1 / 3, 2.5, 0.1234567891), Flow("1/3"), Flow(0.1 + 0.2, 4), Color(8 / 255, 0, 360, 1), Spatial(0, 0)],
    ids=str,
)
def test_its_text_makes_it_again(threat: Parametric) -> None:
    assert as_threat(threat.name) == threat
    assert from_json(to_json(threat), "threat") == threat


def test_texts() -> None:
    assert Spatial(30, 3).name == "spatial:30,3,0"
    assert as_threat("spatial:30,3") == as_threat("spatial") == Spatial(30, 3)
    assert as_threat("flow:cells=4,eps=2") == Flow(2.0, 4)
    assert as_threat("color:hue=90") == Color(hue=90)
    with pytest.raises(InputError, match="too many values"):
        as_threat("flow:1,2,3")


@pytest.mark.parametrize("values", [{"rotation": -1}, {"translation": math.inf}, {"fill": math.nan}], ids=str)
def test_limits_are_finite(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Spatial(**values)
    with pytest.raises(ConfigError):
        as_threat("flow:inf")


@pytest.mark.parametrize("threat", ALL, ids=str)
def test_only_images_can_be_transformed(threat: Parametric) -> None:
    net = nn.Linear(6, 3)
    with pytest.raises(InputError, match="images"):
        sp.attack(net, torch.rand(2, 6), torch.zeros(2).long(), threat, PGD(steps=1))
    with pytest.raises(InputError, match="theta"):
        threat.size(images(1, 3, 4, 4), images(1, 3, 4, 4))


class Corner(nn.Module):
    """Class 1 once the left upper quarter is bright enough, in red where there is red."""

    def __init__(self, bright: float) -> None:
        super().__init__()
        self.bright = bright

    def forward(self, x: Tensor) -> Tensor:
        light = x[:, 0, : x.shape[2] // 2, : x.shape[3] // 2].mean((1, 2)) - self.bright
        return 20 * torch.stack([-light, light], dim=1)


def brighter(x: Tensor, by: float) -> Corner:
    """A model that asks for a left upper quarter so much brighter than the brightest of x."""
    return Corner(float(x[:, 0, : x.shape[2] // 2, : x.shape[3] // 2].mean((1, 2)).max()) + by)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("threat", "points"),
    [(Spatial(20, 2), (9, 5, 5)), (Flow(2.0, cells=1), (9, 9)), (Color(), (3, 3))],
    ids=["spatial", "flow", "color"],
)
def test_every_search_runs_and_its_theta_makes_its_result(
    threat: Parametric, points: tuple[int, ...], channels: int
) -> None:
    column = torch.linspace(0, 1, 10).expand(3, channels, 8, 10)
    x = (0.3 + 0.6 * column * torch.tensor([0.9, 0.95, 1.0]).view(3, 1, 1, 1)).contiguous()
    y = torch.zeros(3).long()
    if isinstance(threat, Color) and channels == 3:
        points = (3, 3, 3, 1)
    found = {}
    for attack in (GridSearch(points=points), RandomSearch(candidates=60), PGD(steps=20), StAdv(steps=30)):
        result = sp.attack(brighter(x, 0.02), x, y, threat, attack)
        found[type(attack).__name__] = result.success_rate.value
        assert result.theta is not None
        assert result.theta.shape == (3, *threat.parameters(x))
        hit = result.rows(sp.Outcome.FOUND)
        again = threat.apply(x, result.theta).clamp(0, 1)
        torch.testing.assert_close(again[hit], result.x_adv[hit])
        torch.testing.assert_close(result.size[hit], result.theta.abs().flatten(1).amax(1)[hit])
        assert (result.size[hit] <= 1).all()
    assert found == dict.fromkeys(found, 1.0)


def test_a_grid_must_fit_the_parameters() -> None:
    x = images(1, 3, 4, 4)
    with pytest.raises(InputError, match="4 parameters and the grid 3"):
        sp.attack(brighter(x, 0.01), x, torch.zeros(1).long(), "color", GridSearch())


def test_what_leaves_the_bounds_is_clipped_by_the_game() -> None:
    x = torch.full((2, 1, 4, 4), 0.95)
    x[1] = 0.5
    result = sp.attack(Corner(0.98), x, torch.zeros(2).long(), Color(brightness=0.2), PGD(steps=20))
    assert result.outcome.tolist() == [sp.Outcome.FOUND, sp.Outcome.NOT_FOUND]
    assert result.x_adv.max() <= 1
    assert (Color(brightness=0.2).apply(x, result.theta)[0] > 0.98).all()


def test_st_adv_is_as_strong_as_pgd_and_smoother() -> None:
    tensors = load_file(Path(__file__).parents[1] / "reference" / "cases" / "digits.safetensors")
    x, y = tensors.pop("case.x")[:30].float() / 255, tensors.pop("case.y")[:30]
    net, threat = SmallCNN(), Flow(1.0)
    net.load_state_dict(tensors)
    rough = {}
    for name, attack in {"plain": StAdv(smoothness=0), "smooth": StAdv(), "pgd": PGD(random_start=False)}.items():
        result = sp.attack(sp.TorchModel(net), x, y, threat, attack)
        assert result.success_rate.value == 1, name
        rough[name] = float(threat.roughness(x, result.theta).mean())
    assert rough["smooth"] < 0.7 * min(rough["plain"], rough["pgd"]), rough


def test_st_adv_keeps_no_graph_of_earlier_steps() -> None:
    seen = []

    class Watched(Flow):
        def project(self, x: Tensor, theta: Tensor, bounds: tuple[float, float]) -> Tensor:
            seen.append(theta.requires_grad)
            return super().project(x, theta, bounds)

    x = images(1, 1, 6, 6)
    sp.attack(brighter(x, 9.0), x, torch.zeros(1).long(), Watched(1.0), StAdv(steps=3))
    assert seen == [False] * 3
