"""The forms of the saliency map attack."""

import pytest
import torch

import saddlepoint as sp
from saddlepoint.attacks.minimum_norm.jsma import JSMA
from saddlepoint.core.game import Stop
from saddlepoint.ops.search import best_feature
from saddlepoint.testing.oracles import Oracle, Wavy

PAPER = {"others": "sum", "weighted": False, "reuse": 1}


class Linear(Oracle):
    """Three classes with given slopes, class 0 ahead at first."""

    def __init__(self, slopes, ahead=1.0, center=0.0):
        self.slopes = torch.tensor(slopes)
        self.ahead, self.center = ahead, center
        super().__init__((self.slopes.shape[1],), 3)

    def answer(self, x):
        start = torch.tensor([self.ahead, 0.0, 0.0])
        return (start + (x - self.center) @ self.slopes.T) * self.scale + self.shift


def played(model, x, attack):
    return sp.attack(model, x, sp.Targeted(torch.ones(len(x)).long()), "l0", attack, stop=Stop.NEVER)


def test_single_features_follow_the_map_of_the_paper():
    # alpha = dZ_1, beta = dZ_0 + dZ_2; the product is largest at feature 2; 0 and 3 have a sign that forbids them.
    model = Linear([[0.0, -1.0, -1.0, -9.0], [9.0, 0.5, 1.0, -1.0], [1.0, 0.0, -1.0, 0.0]], center=0.2)
    result = played(model, torch.full((1, 4), 0.2), JSMA(features=1, max_distortion=0.25, **PAPER))
    assert (result.x_adv != 0.2).nonzero()[:, 1].tolist() == [2]


def test_best_feature_against_looking_at_each():
    generator = torch.Generator().manual_seed(0)
    alpha, beta = (torch.randint(-3, 4, (200, 6), generator=generator).float() for _ in range(2))
    allowed = torch.rand(200, 6, generator=generator) < 0.5
    at, exists = best_feature(alpha, beta, allowed)
    for row in range(200):
        scores = [
            -float(a * b) if ok and a > 0 and b < 0 else None
            for a, b, ok in zip(alpha[row], beta[row], allowed[row], strict=True)
        ]
        best = max((s for s in scores if s is not None), default=None)
        assert bool(exists[row]) == (best is not None)
        assert best is None or scores[int(at[row])] == best


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3, -0.3])
def test_features_move_one_way_and_leave_when_saturated(theta):
    slopes = torch.tensor([[-1.0] * 8, [1.0] * 8, [0.0] * 8]) * (1 if theta > 0 else -1)
    x = torch.full((2, 8), 0.5)
    result = played(Linear(slopes.tolist(), 5.5, 0.5), x, JSMA(theta=theta, max_distortion=1.0, weighted=False, reuse=1))
    moved = (result.x_adv - x)[result.x_adv != x]
    assert (result.outcome == sp.Outcome.FOUND).all()
    assert ((moved > 0) if theta > 0 else (moved < 0)).all()
    saturated = result.x_adv == (1.0 if theta > 0 else 0.0)
    assert ((result.x_adv == x) | saturated).sum(1).min() >= 6  # all but the last pair went to the bound


@pytest.mark.parametrize("attack", [JSMA(theta=0.3, max_distortion=0.5), JSMA(features=1, theta=0.2, max_distortion=0.5)])
def test_small_steps_keep_to_the_share_of_features(attack):
    seen = []

    class Watched(Linear):
        def logits(self, x):
            seen.append(x.detach().clone())
            return super().logits(x)

    model = Watched([[-1.0] * 8, [1.0] * 8, [0.0] * 8], 100.0)
    x = torch.full((1, 8), 0.5)
    result = played(model, x, attack)
    assert (result.outcome == sp.Outcome.NOT_FOUND).all()
    assert max(int((at != x).sum()) for at in seen) == 4
    assert int((seen[-1] == 1).sum()) == 4  # and all of them to the bound


def test_from_an_empty_input_on_the_net_of_the_references():
    from tests.reference.cases import case

    net, x, _ = case()
    result = sp.attack(net, x[:1] * 0, sp.Untargeted(net(x[:1] * 0).argmax(1)), "l0", JSMA())
    assert result.outcome.item() == sp.Outcome.FOUND
    assert 0 < result.size.item() < 100
    assert set(result.x_adv.unique().tolist()) == {0.0, 1.0}


def test_probabilities_are_the_models_own():
    # Far ahead the softmax is flat in float32: the map on probabilities is empty, and the one on logits is not.
    slopes = [[-1.0, -2.0, -3.0, -4.0], [1.0, 2.0, 3.0, 4.0], [0.0] * 4]
    for scale, found in ((1.0, True), (300.0, False)):
        model = Linear(slopes, 6.0)
        model.scale = scale
        x = torch.full((1, 4), 0.1)
        on = {output: played(model, x, JSMA(output=output, max_distortion=1.0)) for output in ("logits", "probabilities")}
        assert on["logits"].outcome.item() == sp.Outcome.FOUND
        assert (on["probabilities"].outcome.item() == sp.Outcome.FOUND) == found


def test_one_map_serves_several_pairs_only_far_from_the_goal():
    slopes = [[-1.0] * 40, [1.0] * 40, [0.0] * 40]
    x = torch.zeros(1, 40)
    once, again = (played(Linear(slopes, 36.0), x, JSMA(max_distortion=1.0, reuse=reuse)) for reuse in (1, 8))
    assert once.size.item() == again.size.item() == 20  # linear: the maps agree, so nothing is lost
    assert again.gradients.item() < once.gradients.item()


def test_what_can_hardly_move_is_left_alone():
    model = Linear([[-1.0] * 4, [3.0, 3.0, 1.0, 1.0], [0.0] * 4], 1.5)
    x = torch.tensor([[0.99, 0.99, 0.0, 0.0]])
    sizes = [played(model, x, JSMA(max_distortion=1.0, weighted=weighted)).size.item() for weighted in (True, False)]
    assert sizes[0] <= sizes[1]


def test_bounds_other_than_zero_and_one():
    class Wide(Wavy):
        bounds = (-2.0, 3.0)

    model = Wide()
    x, y = model.inputs(6)
    result = sp.attack(model, x, y, "l0", JSMA(max_distortion=1.0, weighted=False))
    moved = result.x_adv[result.x_adv != x]
    assert len(moved)
    assert torch.allclose(moved, torch.tensor(3.0))
