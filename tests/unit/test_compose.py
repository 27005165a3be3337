"""Models that wrap models: attacks that fail for a false reason succeed on the wrapped model, and nothing else changes."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.core.answers import checked_logits
from saddlepoint.core.errors import ModelError
from saddlepoint.core.game import Stop
from saddlepoint.models.train import seeded

FOUND, ESCAPED = sp.Outcome.FOUND, sp.Outcome.ESCAPED


def digits():
    data = load_digits()
    return torch.as_tensor(data.data / 16, dtype=torch.float32), torch.as_tensor(data.target)


def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def fitted(network, seed):
    """A small network for the first 1500 digits."""

    def make():
        net = network()
        x, y = (t[:1500] for t in digits())
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(150):
            loss = nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return net.eval()

    return seeded(make, seed)


@pytest.fixture(scope="module")
def nets():
    return fitted(dense, 0), fitted(convolutional, 1)


@pytest.fixture(scope="module")
def net(nets):
    return nets[0]


@pytest.fixture(scope="module")
def examples(nets):
    """A hundred digits that no network was trained on and all get right."""
    x, y = (t[1500:] for t in digits())
    with torch.no_grad():
        right = torch.stack([net(x).argmax(1) == y for net in nets]).all(0)
    return x[right][:100], y[right][:100]


def count(result, *outcomes):
    return int(result.rows(*(outcomes or (FOUND,))).sum())


# -- Defended ----------------------------------------------------------------------------------------------------------


def gray(x):
    """The nearest of 256 gray levels: what every image file does, with a gradient of zero."""
    return (x * 255).round() / 255


def test_a_quantizer_stops_exact_gradients_and_not_the_identity(net, examples):
    """At a radius of eps, the straight-through attack breaks what the plain one does at eps plus or minus a gray level."""
    pgd = a.PGD(steps=20, random_start=False)
    model, eps = sp.TorchModel(net), 0.1
    exact = sp.attack(sp.Defended(model, gray, "exact"), *examples, f"linf:{eps}", pgd)
    assert count(exact) == 0
    assert torch.equal(exact.blank, exact.gradients)
    assert (exact.gradients == 20).all()
    less, more = (count(sp.attack(model, *examples, f"linf:{eps + d}", pgd)) for d in (-1 / 255, 1 / 255))
    through = sp.attack(sp.Defended(model, gray), *examples, f"linf:{eps}", pgd)
    assert 40 < less <= count(through) <= more < 100
    assert (net(gray(through.x_adv)).argmax(1) != examples[1])[through.rows(FOUND)].all()


def thermometer(x):
    return (x[:, None] > torch.arange(8)[None, :, None] / 8).to(x.dtype)


def ramp(x):
    return (x[:, None] * 8 - torch.arange(8)[None, :, None]).clamp(0, 1)


class Levels(nn.Module):
    """The digits network on thermometer code: the mean of the eight levels is nearly the image."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, code):
        return self.net(code.mean(1))


def test_a_stand_in_for_a_thermometer(net, examples):
    pgd = a.PGD(steps=20)
    model = sp.TorchModel(Levels(net))
    clipped = sp.attack(sp.Defended(model, thermometer, ramp), *examples, "linf:0.15", pgd)
    assert count(clipped) > 50
    with pytest.raises(ModelError, match="cannot be differentiated"):
        sp.attack(sp.Defended(model, thermometer, "exact"), *examples, "linf:0.15", pgd)
    with pytest.raises(
        sp.SaddlepointError, match=r"\(100, 64\) into \(100, 8, 64\) and the identity into \(100, 64\)\. Give as"
    ):
        sp.attack(sp.Defended(model, thermometer), *examples, "linf:0.1", pgd)
    with pytest.raises(sp.SaddlepointError, match=r"and backward into \(100, 64\)"):
        sp.attack(sp.Defended(model, thermometer, lambda x: x), *examples, "linf:0.1", pgd)


def test_gradients_of_a_defended_model(net, examples):
    """The identity gives the gradient at what the model sees, a stand-in that times its own, exact what autograd says."""
    model, x = sp.TorchModel(net), examples[0][:5].double().requires_grad_()

    def slope(of, at=x):
        return torch.autograd.grad(of(at).square().sum(), at)[0]

    seen = (x.detach() ** 2).requires_grad_()
    at_seen = slope(model.logits, seen)
    assert torch.equal(slope(sp.Defended(model, torch.square).logits), at_seen)
    assert torch.allclose(slope(sp.Defended(model, torch.square, "exact").logits), 2 * x.detach() * at_seen)
    assert torch.allclose(slope(sp.Defended(model, torch.square, lambda x: 3 * x).logits), 3 * at_seen)
    for backward in ("identity", "exact", lambda x: x / 3):
        assert torch.equal(sp.Defended(model, gray, backward).logits(x), model.logits(gray(x)))


def test_a_purifier_may_use_gradients_of_its_own(net, examples):
    def purifier(x):
        z = torch.zeros_like(x, requires_grad=True)
        (slope,) = torch.autograd.grad((z - x.detach()).square().sum(), z)
        return z - 0.5 * slope

    defended = sp.Defended(sp.TorchModel(net), purifier)
    result = sp.attack(defended, *examples, "linf:0.1", a.PGD(steps=10))
    assert count(result) > 50
    with torch.no_grad():
        assert torch.equal(defended.labels(examples[0]), examples[1])
    with pytest.raises(ModelError, match="cannot be differentiated"):
        sp.attack(sp.Defended(sp.TorchModel(net), purifier, "exact"), *examples, "linf:0.1", a.PGD(steps=10))


# -- ExpectationOver ---------------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """A network behind Gaussian noise, new for every row; or one draw for the whole batch, as random resizing does."""

    def __init__(self, net, std=0.3, shared=False):
        super().__init__()
        self.net, self.std, self.shared = net, std, shared

    def forward(self, x):
        like = x[:1] if self.shared else x
        return self.net(x + self.std * torch.randn_like(like))


def test_an_attack_on_the_mean_beats_one_on_single_draws(net, examples):
    """Two hundred passes an example for each, judged by the mean of the same two hundred draws that neither has seen."""
    model, (x, y) = sp.TorchModel(Noisy(net)), examples
    mean = sp.ExpectationOver(model, 20, together=True)
    held_out = sp.ExpectationOver(model, 200, together=True, seed=1)

    def wrong(x):
        with held_out.session():
            return held_out.labels(x) != y

    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = sp.attack(model, x, y, "linf:0.1", a.PGD(steps=200))
        patient = sp.attack(model, x, y, "linf:0.1", a.PGD(steps=200), stop=Stop.NEVER)
    averaged = sp.attack(mean, x, y, "linf:0.1", a.PGD(steps=10), stop=Stop.NEVER)
    asked = ~patient.rows(sp.Outcome.ALREADY_WRONG)  # a single draw is wrong on some clean inputs by itself
    assert wrong(x).sum() <= 3
    assert (wrong(plain.x_adv) & asked).sum() <= 3  # it leaves at the first lucky draw,
    assert count(plain, ESCAPED) > 40  # which the re-check sees
    assert (wrong(averaged.x_adv) & asked).sum() >= (wrong(patient.x_adv) & asked).sum() + 5
    assert wrong(averaged.x_adv).sum() >= 55
    assert count(averaged, ESCAPED) < count(patient, ESCAPED) / 2


def flicker(net):
    """Logits with a large term of random sign that the mean is free of."""

    class Flicker(nn.Module):
        def forward(self, x):
            sign = torch.randint(0, 2, (len(x), 1)) * 2 - 1
            return net(x) + 20 * sign * x.sum(1, keepdim=True) * torch.eye(10)[0]

    return sp.TorchModel(Flicker())


@pytest.mark.parametrize("over", ["logits", "probabilities"])
def test_the_mean_is_that_of_its_draws(net, examples, over):
    x = examples[0][:7]
    model = flicker(net)
    mean = sp.ExpectationOver(model, 6, over=over, seed=3)
    with mean.session():
        got = mean.logits(x)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        draws = torch.stack([model.logits(x) for _ in range(6)])
    expected = draws.mean(0) if over == "logits" else draws.softmax(-1).mean(0).log()
    assert torch.allclose(got, expected, atol=1e-4)


def test_one_draw_a_pass_is_drawn_in_passes(net, examples):
    """Where a whole batch shares a draw, one enlarged batch would average one draw with itself."""
    x = examples[0][:1]
    model = sp.TorchModel(Noisy(net, 1.0, shared=True))
    apart, together = (sp.ExpectationOver(model, 50, together=flag) for flag in (None, True))
    with together.session():
        rows = together.logits(x)
    with together.session():
        assert torch.allclose(rows, model.logits(x), atol=1e-5)
    with apart.session():
        assert not torch.allclose(apart.logits(x), rows, atol=0.1)


def rotated(x, noise):
    """Rotation by up to 30 degrees, scale 0.8 to 1.2, brightness, of 8 x 8 images."""
    u = (noise.uniform(3, dtype=x.dtype) - 0.5) * 2
    angle, scale = u[:, 0] * math.pi / 6, 1 + 0.2 * u[:, 1]
    zero = torch.zeros_like(angle)
    matrix = torch.stack([angle.cos() / scale, -angle.sin(), zero, angle.sin(), angle.cos() / scale, zero], 1).view(-1, 2, 3)
    images = x.view(-1, 1, 8, 8)
    turned = nn.functional.grid_sample(
        images, nn.functional.affine_grid(matrix, list(images.shape), align_corners=False), align_corners=False
    )
    return (turned.view(x.shape) + 0.1 * u[:, 2:]).clamp(0, 1)


def test_examples_that_survive_rotation(net, examples):
    """Targeted, as in the paper: the share of unseen rotations under which the attacker gets the class he wants."""
    x, y = (t[:40] for t in examples)
    goal, model, threat = sp.Targeted((y + 1) % 10), sp.TorchModel(net), "linf:0.3"
    mean = sp.ExpectationOver(model, 10, transform=rotated)
    single = sp.attack(model, x, goal, threat, a.PGD(steps=200), stop=Stop.NEVER)
    spread = sp.attack(mean, x, goal, threat, a.PGD(steps=20), stop=Stop.NEVER)

    def adversariality(x_adv):
        shares = []
        for draw in range(100):
            labels = sp.ExpectationOver(model, 1, transform=rotated, seed=1000 + draw).labels(x_adv)
            shares.append((labels == goal.y).double().mean())
        return float(torch.stack(shares).mean())

    one, many = adversariality(single.x_adv), adversariality(spread.x_adv)
    assert many > one + 0.1


@pytest.mark.parametrize("method", [a.PGD(steps=4), a.Square(steps=20)], ids=str)
def test_keyed_draws_do_not_depend_on_the_batch(net, examples, method):
    """Without matrix products, whose rounding does."""

    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = net[1].weight.detach()[:10]

        def forward(self, x):
            return (x[:, None] * self.weight).sum(-1)

    x = examples[0][:12]
    model = sp.TorchModel(Sums())
    y = model.labels(x)

    def noisy(x, noise):
        return x + 0.2 * noise.normal(64, dtype=x.dtype)

    mean = sp.ExpectationOver(model, 5, transform=noisy)
    assert torch.allclose(mean.logits(x)[3:5], mean.logits(x[3:5]), atol=1e-5)
    assert torch.equal(mean.labels(x)[3:5], mean.labels(x[3:5]))
    whole = sp.attack(mean, x, y, "linf:0.1", method)
    parts = sp.attack(mean, x, y, "linf:0.1", method, batch=5)
    apart = sp.attack(sp.ExpectationOver(model, 5, transform=noisy, together=False), x, y, "linf:0.1", method)
    other = sp.attack(sp.ExpectationOver(model, 5, transform=noisy, seed=1), x, y, "linf:0.1", method)
    assert torch.equal(whole.x_adv, parts.x_adv)
    assert torch.equal(whole.outcome, parts.outcome)
    assert torch.allclose(whole.x_adv, apart.x_adv, atol=1e-5)
    assert not torch.equal(whole.x_adv, other.x_adv)


def test_what_was_found_is_checked_on_draws_it_has_not_seen(net, examples):
    """A model that answers by a coin can only be won by luck, and luck does not repeat."""
    x, coin = examples[0], sp.CallableModel(lambda x: np.stack([x[:, 0], 1 - x[:, 0]], 1))

    def tossed(x, noise):
        return noise.uniform(64, dtype=x.dtype)

    mean = sp.ExpectationOver(coin, 1, transform=tossed)
    result = sp.attack(mean, x, torch.zeros(100).long(), "linf:0.1", a.Square(steps=50))
    assert count(result, FOUND, ESCAPED) + count(result, sp.Outcome.ALREADY_WRONG) == 100
    assert 0.25 < count(result, ESCAPED) / count(result, FOUND, ESCAPED) < 0.75


def test_runs_repeat_and_leave_the_global_generator_alone(net, examples):
    mean = sp.ExpectationOver(sp.TorchModel(Noisy(net)), 5, together=True)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = sp.attack(mean, *examples, "linf:0.1", a.PGD(steps=3))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    torch.rand(100)
    other = sp.attack(mean, *examples, "linf:0.1", a.PGD(steps=3))
    reseeded = sp.attack(
        sp.ExpectationOver(sp.TorchModel(Noisy(net)), 5, together=True, seed=1), *examples, "linf:0.1", a.PGD(steps=3)
    )
    assert torch.equal(one.x_adv, other.x_adv)
    assert torch.equal(one.outcome, other.outcome)
    assert not torch.equal(one.x_adv, reseeded.x_adv)


# -- Reparameterized ---------------------------------------------------------------------------------------------------

LATENT = 12


class Decoder(nn.Module):
    """The principal components of the digits, all orthonormal: a distance of codes is a distance of images."""

    def __init__(self):
        super().__init__()
        x = digits()[0][:1500]
        self.mean = nn.Parameter(x.mean(0))
        self.directions = nn.Parameter(torch.linalg.svd(x - self.mean, full_matrices=False).Vh[:LATENT].clone())

    def forward(self, z):
        return self.mean + z @ self.directions


def purified(decoder, steps=60):
    """Search the decoder's range for the nearest image by steps of a sign, each smaller: it has no gradient at all."""

    def search(x):
        z = torch.zeros(len(x), LATENT, dtype=x.dtype)
        for step in range(steps):
            z = z - 0.9**step * ((decoder(z) - x) @ decoder.directions.T).sign()
        return decoder(z)

    return search


def test_searching_the_code_gets_through_a_purifier(net, examples):
    decoder = Decoder()
    classifier = sp.TorchModel(net)
    x0, _ = examples
    codes = (x0 - decoder.mean.detach()) @ decoder.directions.detach().T
    loop = purified(decoder)
    defense = sp.Defended(classifier, loop, "exact")
    right = defense.labels(x0) == examples[1]
    x0, y, codes = x0[right], examples[1][right], codes[right]
    assert right.sum() > 80
    pgd = a.PGD(steps=40, random_start=False)
    through = sp.attack(defense, x0, y, "l2:1.5", pgd)
    assert count(through) == 0
    assert torch.equal(through.blank, through.gradients)

    latent = sp.Reparameterized(sp.Defended(classifier, loop), decoder, (-5, 5))
    result = sp.attack(latent, codes, y, "l2:1.5", pgd)
    won = result.rows(FOUND)
    assert count(result) > 0.75 * len(y)
    assert (defense.labels(latent.inputs(result.x_adv)) != y)[won].all()
    images = sp.Reparameterized(classifier, decoder, (-5, 5))
    assert latent.size(sp.L2(1.5), images.inputs(codes), result.x_adv).max() <= 1.5 + 1e-4
    far = latent.size(sp.L2(1.5), x0, result.x_adv)  # from the photograph it is as far as Pythagoras says, at most
    off = (images.inputs(codes) - x0).norm(dim=1)
    assert (far <= off + 1.5 + 1e-4).all()


def test_the_nearest_code_is_found_from_the_best_of_several_starts(examples):
    decoder, x = Decoder(), examples[0][:6]
    exact = (x - decoder.mean.detach()) @ decoder.directions.detach().T
    model = sp.Reparameterized(nn.Linear(64, 10), decoder, (-5, 5))
    starts = torch.zeros(3, LATENT)
    starts[1] = 5
    starts[2] = -5
    found = model.nearest(x, starts, steps=300)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 0.01
    assert torch.equal(model.nearest(x, exact[2:3], steps=0), exact[2:3].expand(6, -1))
    many = model.nearest(x, exact, steps=0)  # each finds itself among the starts
    assert torch.equal(many, exact)
    narrow = sp.Reparameterized(nn.Linear(64, 10), decoder, (-0.5, 0.5))
    assert narrow.nearest(x, torch.zeros(1, LATENT)).abs().max() <= 0.5
    assert all(p.grad is None and p.requires_grad for p in decoder.parameters())


def test_what_is_decoded_stays_within_the_bounds_of_the_model():
    model = sp.Reparameterized(sp.TorchModel(nn.Identity(), bounds=(-1, 2)), lambda z: 10 * z, (-1, 1))
    z = torch.tensor([[0.1, -0.5, 0.9]])
    assert torch.allclose(model.inputs(z), torch.tensor([[1.0, -1.0, 2.0]]))
    assert torch.equal(model.logits(z), model.inputs(z))


# -- Ensemble ----------------------------------------------------------------------------------------------------------


def test_an_ensemble_fools_both_members_more_often_than_either_does(nets, examples):
    x, y = examples
    members = [sp.TorchModel(net) for net in nets]
    found = {
        name: sp.attack(model, x, y, "linf:0.15", a.PGD(steps=20), stop=Stop.NEVER).x_adv
        for name, model in {"first": members[0], "second": members[1], "fused": sp.Ensemble(members)}.items()
    }
    both = {name: int(((nets[0](z).argmax(1) != y) & (nets[1](z).argmax(1) != y)).sum()) for name, z in found.items()}
    assert both["fused"] >= max(both["first"], both["second"]) + 20, both


def test_the_mean_of_members(nets, examples):
    x = examples[0][:8].double()
    first, second = (sp.TorchModel(net) for net in nets)
    one, other = first.logits(x).double(), second.logits(x).double()
    assert torch.allclose(sp.Ensemble([first, second]).logits(x), (one + other) / 2)
    assert torch.allclose(sp.Ensemble([first, second], [3, 1]).logits(x), 0.75 * one + 0.25 * other)
    fused = sp.Ensemble([first, second], [3, 1], over="probabilities").logits(x)
    assert torch.allclose(fused.exp(), 0.75 * one.softmax(1) + 0.25 * other.softmax(1))
    assert torch.equal(sp.Ensemble([first, second], [1, 0], over="probabilities").labels(x), first.labels(x))
    leaf = x.clone().requires_grad_()
    for over in ("logits", "probabilities"):
        ensemble = sp.Ensemble([first, second], [0, 1], over)
        (slope,) = torch.autograd.grad(ensemble.logits(leaf).log_softmax(1)[:, 0].sum(), leaf)
        (alone,) = torch.autograd.grad(second.logits(leaf).log_softmax(1)[:, 0].sum(), leaf)
        assert torch.allclose(slope, alone, atol=1e-5)


def voter(*answers):
    return sp.CallableModel(lambda x: np.array(answers), returns="labels")


def test_votes():
    x = torch.rand(4, 3)
    voters = [voter(0, 1, 2, 5), voter(0, 2, 1, -1), voter(3, 2, 0, 5)]
    assert sp.Ensemble(voters).labels(x).tolist() == [0, 2, 0, -1]  # all three at odds: the lowest
    assert sp.Ensemble(voters, [1, 1, 3]).labels(x).tolist() == [3, 2, 0, -1]
    mixed = sp.Ensemble([nn.Linear(3, 2), voters[0]])
    assert (mixed.over, mixed.access) == ("votes", sp.Access.LABELS)


@pytest.mark.parametrize("draws", [1, 2, 3, 10, 25])
def test_a_vote_ends_when_it_is_decided(draws):
    answers = torch.randint(4, (draws, 200), generator=torch.Generator().manual_seed(draws))
    answers[:, :100] = torch.where(answers[:, :100] > 0, 3, 1)
    asked = torch.zeros(200, dtype=torch.long)

    def draw(x):
        rows = torch.as_tensor(x).flatten().long()
        asked[rows] += 1
        return answers[asked[rows] - 1, rows].numpy()

    found = sp.ExpectationOver(sp.CallableModel(draw, returns="labels", bounds=(0, 200)), draws).labels(
        torch.arange(200.0)[:, None]
    )
    counts = torch.nn.functional.one_hot(answers, 4).sum(0)
    assert torch.equal(found, counts.argmax(1))
    assert draws < 10 or float(asked[:100].float().mean()) < 0.85 * draws
    for row in range(200):  # nobody was sent home early
        seen = torch.bincount(answers[: asked[row], row], minlength=4).topk(2).values
        assert asked[row] == draws or seen[0] - seen[1] > draws - asked[row]


def test_a_vote_with_a_broken_answer_is_none():
    turns = iter([[0, 1], [0, -1]])
    random = sp.CallableModel(lambda x: np.array(next(turns)), returns="labels")
    assert sp.ExpectationOver(random, 3).labels(torch.rand(2, 3)).tolist() == [0, -1]


# -- what holds for all ------------------------------------------------------------------------------------------------

WRAPPERS = {
    "ExpectationOver": lambda model: sp.ExpectationOver(model, 3, together=True),
    "transform": lambda model: sp.ExpectationOver(model, 3, transform=lambda x, n: x + 0.01 * n.normal(64, dtype=x.dtype)),
    "Defended": lambda model: sp.Defended(model, gray),
    "Reparameterized": lambda model: sp.Reparameterized(model, lambda z: z / 2, (0, 2)),
    "Ensemble": lambda model: sp.Ensemble([model, model], [1, 2]),
    "nested": lambda model: sp.ExpectationOver(
        sp.Defended(sp.Ensemble([model, sp.Defended(model, gray, "exact")]), lambda x: gray(x + 0.01 * torch.randn_like(x))),
        3,
    ),
}
each = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())


@each
@pytest.mark.parametrize(
    ("method", "threat"),
    [
        (a.PGD(steps=5), "linf:0.2"),
        (a.Square(steps=100), "linf:0.2"),
        (a.HopSkipJump(steps=1), "l2"),
        (a.DDN(steps=8), "l2"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_attacks_run_on_every_wrapper(net, examples, wrap, method, threat):
    x, y = (t[:10] for t in examples)
    result = sp.attack(wrap(sp.TorchModel(net)), x, y, threat, method)
    assert count(result) >= 4, result
    again = sp.attack(wrap(sp.TorchModel(net)), x, y, threat, method)
    assert torch.equal(result.x_adv, again.x_adv)


@each
def test_access_and_bounds_are_those_of_the_weakest(net, wrap):
    white = wrap(sp.TorchModel(net, bounds=(0, 1)))
    assert white.access is sp.Access.GRADIENTS
    scores = sp.CallableModel(lambda x: net(torch.from_numpy(x)).detach())
    assert wrap(scores).access is sp.Access.SCORES
    labels = sp.CallableModel(lambda x: net(torch.from_numpy(x)).argmax(1), returns="labels")
    assert wrap(labels).access is sp.Access.LABELS
    with pytest.raises(sp.SaddlepointError, match="PGD needs gradients, and this model gives labels only"):
        sp.attack(wrap(labels), torch.rand(2, 64), torch.zeros(2).long(), "linf:0.1", "PGD")
    with pytest.raises(sp.SaddlepointError, match="gives labels only"):
        wrap(labels).logits(torch.rand(2, 64))
    if not isinstance(white, sp.Reparameterized):
        assert wrap(sp.TorchModel(net, bounds=(-2, 3))).bounds == (-2, 3)
    assert white.device == torch.device("cpu")


@each
def test_state_is_restored_also_after_failure(examples, wrap):
    class Fuse(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm, self.fails = nn.Linear(64, 10), nn.BatchNorm1d(10), False

        def forward(self, x):
            assert not self.training
            assert not self.linear.weight.requires_grad
            torch.rand(3)
            if self.fails:
                raise OSError("the plug was pulled")
            return self.norm(self.linear(x))

    net = Fuse().train()
    net.linear.weight.grad = torch.ones_like(net.linear.weight)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    seeded = isinstance(wrap(sp.TorchModel(net)), sp.ExpectationOver)
    for fails in (False, True):
        net.fails = fails
        generator = torch.get_rng_state()
        try:
            sp.attack(wrap(sp.TorchModel(net)), examples[0][:4], torch.zeros(4).long(), "linf:0.1", a.PGD(steps=2))
        except ModelError as error:
            assert fails and "the plug was pulled" in str(error)  # noqa: PT017, PT018
        assert net.training and net.norm.training and net.linear.weight.requires_grad  # noqa: PT018
        assert torch.equal(net.linear.weight.grad, torch.ones_like(net.linear.weight))
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        assert torch.equal(torch.get_rng_state(), generator) or not seeded


@pytest.mark.parametrize("place", ["preprocess", "backward", "decode", "transform"])
def test_modules_inside_are_kept_like_networks(net, examples, place):
    class Blur(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.drop = nn.Linear(64, 64).double(), nn.Dropout(0.5)
            nn.init.eye_(self.linear.weight)

        def forward(self, x, *noise):
            assert not self.training
            return self.drop(self.linear(x)).clamp(0, 1)

    blur = Blur().train()
    model = {
        "preprocess": lambda: sp.Defended(net, blur),
        "backward": lambda: sp.Defended(net, gray, blur),
        "decode": lambda: sp.Reparameterized(net, blur, (0, 1)),
        "transform": lambda: sp.ExpectationOver(net, 2, transform=blur),
    }[place]()
    result = sp.attack(model, *examples, "linf:0.1", a.PGD(steps=3))
    assert (result.gradients > result.blank).any()
    assert blur.training and blur.drop.training and blur.linear.weight.requires_grad  # noqa: PT018
    assert blur.linear.weight.grad is None


@each
def test_broken_answers_are_an_alarm(wrap):
    class Broken(nn.Module):
        def forward(self, x):
            logits = x[:, :3].clone()
            return logits.masked_fill((torch.arange(len(x)) % 2 == 0)[:, None] & (x[:, :1] > 0.4), torch.nan)

    x = torch.full((4, 64), 0.9)
    x[2:, 0] = 0.1
    model = wrap(sp.TorchModel(Broken()))
    assert (model.labels(x)[2:] >= 0).all()
    assert model.labels(x[:1]).tolist() == [-1]
    result = sp.attack(model, x[:1], torch.zeros(1).long(), "linf:0.01", a.PGD(steps=2))
    assert count(result, sp.Outcome.NONFINITE) == 1


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precisions_and_empty_batches(net, examples, wrap, dtype):
    x, y = examples[0][:3].to(dtype), examples[1][:3]
    model = wrap(sp.TorchModel(net))
    assert checked_logits(model.logits, x).dtype is dtype
    assert sp.attack(model, x, y, "linf:0.1", a.PGD(steps=2)).x_adv.dtype is dtype
    assert len(sp.attack(model, x[:0], y[:0], "linf:0.1", a.PGD(steps=2))) == 0


@each
def test_inputs_are_not_overwritten(examples, wrap):
    class Rude(nn.Module):
        def forward(self, x):
            return x.mul_(2)[:, :10]

    x = examples[0][:4].clone()
    sp.attack(wrap(sp.TorchModel(Rude())), x, torch.zeros(4).long(), "linf:0.1", a.FGSM())
    assert torch.equal(x, examples[0][:4])
    rude = sp.Defended(sp.TorchModel(Rude()), lambda x: x.mul_(0))
    rude.logits(x)
    assert torch.equal(x, examples[0][:4])


GOOD = nn.Linear(4, 3)
WRONG = {
    r"model must be a saddlepoint Model or a torch\.nn\.Module; got 3": lambda: sp.ExpectationOver(3),
    "model must be a saddlepoint Model .*; got <": lambda: sp.Defended(lambda x: x, gray),
    "draws must be an integer of at least 1; got 0": lambda: sp.ExpectationOver(GOOD, 0),
    "draws must be an integer of at least 1; got True": lambda: sp.ExpectationOver(GOOD, True),
    r"draws must be an integer of at least 1; got 2\.5": lambda: sp.ExpectationOver(GOOD, 2.5),
    "seed must be an integer; got 'x'": lambda: sp.ExpectationOver(GOOD, seed="x"),
    "over must be 'logits', 'probabilities' or 'votes'; got 'losses'": lambda: sp.ExpectationOver(GOOD, over="losses"),
    "over must be 'votes', since the model gives labels only": lambda: sp.ExpectationOver(voter(0), over="logits"),
    "over must be 'votes', since a model gives labels only": lambda: sp.Ensemble([GOOD, voter(0)], over="logits"),
    "transform must be a function or a torch module; got 5": lambda: sp.ExpectationOver(GOOD, transform=5),
    "backward must be 'identity', 'exact' or a function; got 'bpda'": lambda: sp.Defended(GOOD, gray, "bpda"),
    "backward must be a function or a torch module; got None": lambda: sp.Defended(GOOD, gray, None),
    r"preprocess must be a function .* Write Decoder\(\)\.": lambda: sp.Defended(GOOD, Decoder),
    "bounds must be a pair": lambda: sp.Defended(GOOD, gray, bounds=3),
    "decode must be a function": lambda: sp.Reparameterized(GOOD, "decoder", (0, 1)),
    "bounds must be finite with low < high": lambda: sp.Reparameterized(GOOD, gray, (1, 0)),
    "models must be a list of at least one model; got \\[\\]": lambda: sp.Ensemble([]),
    "models must be a list of at least one model; got Linear": lambda: sp.Ensemble(GOOD),
    "weights must be 2 numbers of at least zero, .*; got \\[1\\]": lambda: sp.Ensemble([GOOD, GOOD], [1]),
    "weights must be 1 numbers of at least zero, .*; got \\[-1\\]": lambda: sp.Ensemble([GOOD], [-1]),
    "weights must be 1 numbers of at least zero, .*; got \\[0\\]": lambda: sp.Ensemble([GOOD], [0]),
    "weights must be 1 numbers of at least zero, .*; got 'ab'": lambda: sp.Ensemble([GOOD], "ab"),
    "weights must be 1 numbers of at least zero, .*; got \\[nan\\]": lambda: sp.Ensemble([GOOD], [float("nan")]),
    r"must have the same bounds; got \[\(0\.0, 1\.0\), \(0\.0, 2\.0\)\]": lambda: sp.Ensemble(
        [GOOD, sp.TorchModel(GOOD, bounds=(0, 2))]
    ),
    r"must have the same classes; got \[3, 5\]": lambda: sp.Ensemble([GOOD, nn.Linear(4, 5)]).logits(torch.rand(2, 4)),
    r"preprocess must return a tensor of 2 .*; got torch\.float32 \(1, 4\)": lambda: asked(lambda x: x[:1]),
    r"preprocess must return a tensor .*; got torch\.int64": lambda: asked(lambda x: x.long()),
    "preprocess must return a tensor .*; got ndarray": lambda: asked(lambda x: x.numpy()),
    r"preprocess failed on a batch of shape \(2, 4\): ZeroDivisionError": lambda: asked(lambda x: 1 / 0),
    "starts must be a batch .* within \\[0, 1\\]; got shape \\(2, 4\\)": lambda: latent().nearest(
        X, torch.full((2, 4), 2.0)
    ),
    "starts must be a batch .*; got shape \\(0, 4\\)": lambda: latent().nearest(X, torch.zeros(0, 4)),
    r"decode must make inputs of shape \(4,\); got \(2,\)": lambda: latent(lambda z: z[:, :2]).nearest(X, X),
}
X = torch.rand(2, 4)


def asked(preprocess):
    return sp.Defended(GOOD, preprocess).logits(X)


def latent(decode=lambda z: z):
    return sp.Reparameterized(GOOD, decode, (0, 1))


@pytest.mark.parametrize("pattern", WRONG)
def test_wrong_arguments_are_one_sentence_each(pattern):
    with pytest.raises(sp.SaddlepointError, match=pattern) as caught:
        WRONG[pattern]()
    assert str(caught.value).count(". ") + str(caught.value).endswith(".") >= 1
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_inside_a_part_halves_the_batch(net, examples):
    def cramped(x):
        if len(x) > 40:
            raise MemoryError("Unable to allocate 9 GiB for an array")
        return gray(x)

    result = sp.attack(sp.Defended(sp.TorchModel(net), cramped), *examples, "linf:0.1", a.PGD(steps=5))
    assert len(result) == 100
    assert count(result) > 40
