"""Adversarial inputs that are valid image files."""

import importlib.util
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

import saddlepoint as sp
from saddlepoint.core.errors import InputError
from saddlepoint.ops import grid
from saddlepoint.testing.oracles import Wavy

A = sp.attacks
spec = importlib.util.spec_from_file_location("cases", Path(__file__).parents[1] / "reference" / "cases.py")
assert spec is not None
assert spec.loader is not None
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)


@pytest.mark.parametrize(
    ("method", "threat"),
    [(A.PGD(), "linf:0.1"), (A.PGD(), "l1:12"), (A.PGD(), "spatial:30,3"), (A.DDN(), "l2"), (A.Square(steps=200), "l2:2.5")],
    ids=str,
)
def test_it_stays_adversarial_as_a_png(method, threat, tmp_path):
    net, x, y = cases.case()
    x, y = x[:24], y[:24]
    result = sp.attack(sp.TorchModel(net), x, y, threat, method, quantize=256)
    found = result.rows(sp.Outcome.FOUND).nonzero().flatten().tolist()
    assert len(found) >= 8
    for row in found:
        pixels = (result.x_adv[row, 0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
    loaded = np.stack([np.asarray(Image.open(tmp_path / f"{row}.png")) for row in found])
    again = torch.from_numpy(loaded)[:, None].float() / 255
    assert torch.equal(again, result.x_adv[found])
    assert (net(again).argmax(1) != y[found]).all()


def test_without_it_a_png_may_lose_the_attack():
    net, x, y = cases.case()
    result = sp.attack(sp.TorchModel(net), x, y, "l2", A.DDN())
    as_png = (result.x_adv * 255).round() / 255
    assert (net(as_png).argmax(1) == y).any()


def test_rounding_toward_x_stays_in_the_ball():
    noise = torch.Generator().manual_seed(0)
    x = (torch.rand(50, 3, 5, 5, generator=noise) * 255).round() / 255
    for threat in (sp.Linf(0.0301), sp.L2(0.2), sp.L1(0.9)):
        delta = threat.project(x, torch.randn(x.shape, generator=noise), (0.0, 1.0))
        found = grid.rounded(x, x + delta, 256, (0.0, 1.0), lambda c, t=threat: t.contains(x, c))
        assert threat.contains(x, found).all()
        assert grid.on_grid(found, 256, (0.0, 1.0)).all()
        assert ((found != x).flatten(1).any(1)).all()
        assert threat.size(x, found).mean() > 0.9 * threat.eps


def test_values_are_those_of_image_files_bit_for_bit():
    numbers = torch.arange(256)
    assert torch.equal(grid.value(numbers.float(), 256, (0.0, 1.0)), numbers.to(torch.uint8).float() / 255)


def test_inputs_off_the_grid_are_refused():
    jaxtyping.config.update("jaxtyping_disable", True)  # users run without the type checker of these tests
    x, y = Wavy().inputs(2)
    with pytest.raises(InputError, match="quantize=256 needs inputs on that grid, and the example at index 0"):
        sp.attack(Wavy(), x, y, "linf:0.1", quantize=256)
    for wrong in (1, 2.5, True, "256"):
        with pytest.raises(InputError, match="quantize must be a number of levels"):
            sp.attack(Wavy(), x, y, "linf:0.1", quantize=wrong)
    jaxtyping.config.update("jaxtyping_disable", False)


def test_other_bounds_have_other_grids():
    class Shifted(Wavy):
        bounds = (-1.0, 1.0)

    x, y = Shifted().inputs(6)
    x = grid.rounded(x, x, 256, (-1.0, 1.0))
    result = sp.attack(Shifted(), x, y, "linf:0.3", quantize=256)
    assert result.rows(sp.Outcome.FOUND).any()
    assert grid.on_grid(result.x_adv, 256, (-1.0, 1.0)).all()
