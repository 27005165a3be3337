"""CarliniWagner in its three norms: what is true of it on real digits, and not of every attack."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import saddlepoint as sp
from saddlepoint.models.zoo import SmallCNN

CASE = Path(__file__).parents[1] / "reference" / "cases" / "digits.safetensors"
ATTACK = sp.attacks.CarliniWagner(steps=20, searches=2, start=sp.attacks.DDN(steps=20))
NORMS = ("l2", "l0", "linf")


class Around(torch.nn.Module):
    """The net, and something done to its logits."""

    def __init__(self, net, after):
        super().__init__()
        self.net, self.after = net, after

    def forward(self, x):
        return self.after(self.net(x))


@pytest.fixture(scope="module")
def digits():
    tensors = load_file(CASE)
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN().eval()
    net.load_state_dict(tensors)
    return net, x, y


def play(net, x, goal, threat, attack=ATTACK, **how):
    return sp.attack(sp.TorchModel(net), x, goal, threat, attack, **how)


@pytest.fixture(scope="module")
def plain(digits):
    net, x, y = digits
    return {norm: play(net, x[:12], y[:12], norm) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "after",
    [lambda z: z.log_softmax(1), lambda z: z - 50, lambda z: 100 * z],
    ids=["log softmax", "shifted", "scaled"],
)
def test_logits_of_another_make_give_the_same_distances(digits, plain, norm, after):
    net, x, y = digits
    found = play(Around(net, after), x[:12], y[:12], norm)
    assert found.success_rate.value == plain[norm].success_rate.value == 1
    assert found.median_size == pytest.approx(plain[norm].median_size, rel=0.02, abs=1 if norm == "l0" else 0)


@pytest.mark.parametrize("norm", NORMS)
def test_one_by_one_gives_the_same_distances(digits, norm):
    net, x, y = digits
    whole, single = (play(net, x[:6], y[:6], norm, batch=batch) for batch in (64, 1))
    assert torch.allclose(whole.size, single.size, rtol=1e-3, atol=1 if norm == "l0" else 0)


@pytest.mark.parametrize("norm", NORMS)
def test_pixels_of_zero_and_one(digits, norm):
    net, x, _ = digits
    x = x[:12].round()
    y = net(x).argmax(1)
    assert play(net, x, y, norm).success_rate.value == 1


@pytest.mark.parametrize("norm", ["l0", "linf"])
@pytest.mark.parametrize("objective", ["f1", "f2", "f3", "f4", "f5", "f6", "f7"])
def test_every_objective_improves_on_the_start(digits, norm, objective):
    net, x, y = digits
    attack = sp.attacks.CarliniWagner(steps=20, searches=2, start=ATTACK.start, objective=objective)
    short = sp.attacks.CarliniWagner(steps=1, searches=1, start=ATTACK.start)
    assert play(net, x[:12], y[:12], norm, attack).median_size < play(net, x[:12], y[:12], norm, short).median_size


@pytest.mark.parametrize("norm", ["l0", "linf"])
def test_from_the_clean_input(digits, norm):
    net, x, y = digits
    attack = sp.attacks.CarliniWagner(start=None, first_constant=10, steps=50, searches=2)
    assert play(net, x[:12], y[:12], norm, attack).success_rate.value == 1


@pytest.mark.parametrize("norm", NORMS)
def test_confidence_is_kept(digits, norm):
    net, x, y = digits
    attack = sp.attacks.CarliniWagner(searches=6, confidence=2)
    found = play(net, x[:12], y[:12], norm, attack)
    logits = net(found.x_adv).detach()
    others = logits.scatter(1, y[:12, None], -torch.inf).amax(1)
    assert found.success_rate.value == 1
    assert (others - logits.gather(1, y[:12, None])[:, 0] > 2 * (1 - 1e-4)).all()


def test_frozen_pixels_are_the_original_ones_in_all_channels():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 36, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    x = torch.rand(8, 3, 6, 6)
    found = play(net, x, net(x).argmax(1), "l0", sp.attacks.CarliniWagner())
    changed = (found.x_adv != x).any(1).flatten(1).sum(1)
    assert found.success_rate.value == 1
    assert torch.equal(changed.float(), found.size)
    assert found.median_size < 8


def test_one_pixel_a_round_is_the_papers_way(digits):
    net, x, y = digits
    start = sp.attacks.DDN(steps=20)

    def left(freeze, rounds):
        attack = sp.attacks.CarliniWagner(start=start, steps=rounds, searches=1, freeze=freeze)
        return play(net, x[:4], y[:4], "l0", attack).size

    assert torch.equal(left(None, 11), left(None, 1) - 10)  # the start is far from needing every pixel: each round wins
    assert (left(0.3, 11) < left(None, 11)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_start_in_the_norm_itself_is_played_as_such(digits, norm):
    net, x, y = digits
    start = {"l2": sp.attacks.DeepFool(), "l0": sp.attacks.JSMA(), "linf": sp.attacks.DeepFool()}[norm]
    before = play(net, x[:12], y[:12], norm, start)
    after = play(net, x[:12], y[:12], norm, sp.attacks.CarliniWagner(start=start))
    assert (after.size <= before.size).all()
    assert after.size.mean() < before.size.mean()
    assert after.median_size <= before.median_size
