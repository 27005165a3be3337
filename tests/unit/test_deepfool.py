"""DeepFool keeps to its price on a trained net."""

from pathlib import Path

import torch
from safetensors.torch import load_file

import saddlepoint as sp
from saddlepoint.attacks.minimum_norm.deepfool import DeepFool
from saddlepoint.models.zoo import SmallCNN

CASE = Path(__file__).parent.parent / "reference" / "cases" / "digits.safetensors"


def test_it_costs_few_passes_and_drawing_in_gains():
    tensors, net = load_file(CASE), SmallCNN()
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net.load_state_dict(tensors)
    result = sp.attack(sp.TorchModel(net), x[:50], y[:50], "l2", DeepFool())
    assert result.success_rate.value == 1
    assert result.forwards / 50 <= 10
    assert result.backwards / 50 <= 45
    rough = sp.attack(sp.TorchModel(net), x[:50], y[:50], "l2", DeepFool(bisections=0))
    assert (result.size <= rough.size).all()
    assert result.size.mean() < rough.size.mean()
    paper = sp.attack(sp.TorchModel(net), x[:50], y[:50], "l2", DeepFool(shortlist=9, haste=0, bisections=0))
    assert paper.backwards > 2 * result.backwards
    assert torch.quantile(result.size, 0.5) <= torch.quantile(paper.size, 0.5)
