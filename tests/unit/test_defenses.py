"""The defenses do what their papers say, and the gallery's tables are whole."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import saddlepoint as sp
from saddlepoint.core.errors import ModelError
from saddlepoint.data import Arrays
from saddlepoint.defenses.architecture.k_winners import KWinners
from saddlepoint.defenses.architecture.layers import NaNOffGrid, TestTimeDropout, replaced
from saddlepoint.defenses.architecture.quantized import quantized
from saddlepoint.defenses.architecture.stochastic_pruning import StochasticPruning
from saddlepoint.defenses.gallery import GALLERY, entry, straight_through
from saddlepoint.defenses.preprocessing.bit_depth import BitDepth
from saddlepoint.defenses.preprocessing.defense_gan import VAE, DefenseGAN
from saddlepoint.defenses.preprocessing.jpeg import JPEG
from saddlepoint.defenses.preprocessing.pixel_defend import PixelCNN, PixelDefend
from saddlepoint.defenses.preprocessing.quilting import Quilting, patches_of, seam
from saddlepoint.defenses.preprocessing.resize_pad import ResizePad
from saddlepoint.defenses.preprocessing.thermometer import Thermometer
from saddlepoint.defenses.preprocessing.total_variation import TotalVariation, total_variation
from saddlepoint.defenses.training.distillation import distill
from saddlepoint.defenses.workshop import Workshop
from saddlepoint.detectors.lid import LID, lid
from saddlepoint.models.guarded import Guarded
from saddlepoint.models.train import Trainer
from saddlepoint.models.zoo import SmallCNN


@pytest.fixture(autouse=True)
def _seeded(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def images():
    """Smooth images (6, 1, 20, 20), bright in one of nine places."""
    place = torch.tensor([[4, 4], [10, 10], [15, 15], [4, 15], [15, 4], [4, 10]])
    axis = torch.arange(20)
    off = (axis[None, :, None] - place[:, :1, None]) ** 2 + (axis[None, None] - place[:, 1:, None]) ** 2
    return (-off / 8).exp()[:, None]


@pytest.fixture(scope="module")
def workshop():
    """Four classes of 8 x 8 images: a bright quarter, and noise."""
    draw = np.random.Generator(np.random.PCG64(0))
    y = np.arange(160) % 4
    x = draw.uniform(0, 0.2, (160, 1, 8, 8))
    for row, label in enumerate(y):
        x[row, 0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 0.7
    return Workshop(Arrays("quarters", (255 * x).astype("uint8"), y), Trainer(epochs=4, learning_rate=5e-3, batch=16))


# -- preprocessing -----------------------------------------------------------------------------------------------------


def test_the_thermometer_of_the_paper():
    code = Thermometer(10)(torch.tensor([0.66, 0.0, 1.0, 0.1]).view(1, 4, 1, 1)).view(4, 10)
    assert ["".join(str(int(bit)) for bit in row) for row in code] == [
        "1111110000",
        "0000000000",
        "1111111110",
        "0000000000",
    ]
    x = torch.linspace(0, 1, 101)[:, None, None, None].requires_grad_()
    stairs, ramp = Thermometer(10)(x), Thermometer(10).ramp(x)
    assert stairs.shape == ramp.shape == (101, 10, 1, 1)
    (flat,) = torch.autograd.grad(stairs.sum(), x, allow_unused=True)
    (slope,) = torch.autograd.grad(ramp[..., 0, 0].sum(), x)
    assert not flat.any()
    assert (slope > 0).all()


@pytest.mark.parametrize("defense", [BitDepth(3), JPEG(75), Thermometer(10)], ids=lambda d: type(d).__name__)
def test_shattered_gradients_are_exactly_zero(defense, images):
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defense(x).square().sum(), x)
    assert not gradient.any()


def test_bpda_sees_through_a_quantizer(images):
    net = nn.Sequential(nn.Flatten(), nn.Linear(400, 3))
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sp.Defended(net, BitDepth(3)).logits(x)[:, 0].sum(), x)
    assert torch.allclose(gradient, net[1].weight[0].view(1, 20, 20).expand_as(x))
    assert torch.equal(BitDepth(1)(images).unique(), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [30, 75, 90])
def test_jpeg_is_that_of_the_codec(channels, quality):
    x = torch.rand(1, channels, 5, 6).repeat_interleave(5, 2).repeat_interleave(4, 3)  # 25 x 24, not a multiple of 8
    pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality, subsampling=0)
    codec = torch.from_numpy(np.asarray(Image.open(file)).reshape(25, 24, channels).copy()).permute(2, 0, 1)
    ours = JPEG(quality)(x)[0] * 255
    assert ours.shape == codec.shape
    loss = (ours - x[0] * 255).abs().mean()
    assert loss > 1
    assert (ours - codec).abs().mean() < 0.3 * loss  # the codec computes with integers, and a tie may fall otherwise


def test_resized_images_lie_whole_inside_the_frame(images):
    batch = images[1:2].expand(200, 1, 20, 20)
    out = ResizePad(20, 26, 26)(batch)
    assert out.shape == (200, 1, 26, 26)
    mass = out.sum((1, 2, 3)) / batch.sum((1, 2, 3))
    assert (mass > 0.99).all()  # nothing is cut off, and sizes grow only
    assert mass.max() < (26 / 20) ** 2 * 1.01
    assert mass.std() > 0.05
    assert torch.allclose(ResizePad(20, 20, 20)(batch), batch, atol=1e-5)
    centers = (out.sum((1, 3)) @ torch.arange(26.0)) / out.sum((1, 2, 3))
    assert centers.std() > 0.5


def test_variation_falls_and_only_known_pixels_matter(images):
    noisy = (images + 0.2 * torch.randn_like(images)).clamp(0, 1)
    for drop, weight in ((0.5, 0.03), (0.0, 0.3)):
        smooth = TotalVariation(drop, weight)(noisy)
        assert (total_variation(smooth) < 0.95 * total_variation(noisy)).all()
    assert (TotalVariation(0.0, 0.001, 100)(images) - images).abs().max() < 0.05
    z, mask = torch.rand(3, 1, 5, 5).double().requires_grad_(), (torch.rand(3, 1, 5, 5) > 0.5).double()
    x = torch.rand(3, 1, 5, 5).double()
    value = ((mask * (z - x)).square().sum((1, 2, 3)) + 1e-6).sqrt().sum() + 0.03 * total_variation(z).sum()
    assert torch.allclose(torch.autograd.grad(value, z)[0], TotalVariation().slope(z.detach(), x, mask))


def test_a_seam_is_the_path_of_least_error():
    draw = torch.rand(20, 4, 3)
    left = seam(draw).sum(2)
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)
    paths = paths[(paths.diff(dim=1).abs() <= 1).all(1)]
    costs = draw[:, torch.arange(4), paths].sum(2)
    assert torch.equal(left, paths[costs.argmin(1)])


def test_quilts_are_made_of_the_database_alone(images):
    palette = torch.linspace(0.05, 0.95, 30).view(30, 1, 1, 1).expand(30, 1, 5, 5)
    quilt = Quilting(palette, nearest=3)(images)
    assert quilt.shape == images.shape
    assert torch.isin(quilt, palette).all()
    whole = Quilting(patches_of(images, 5000), nearest=1)(images)
    assert (whole - images).abs().mean() < 0.02
    assert not torch.equal(Quilting(patches_of(images, 50))(images), Quilting(patches_of(images, 50))(images))


def test_a_pixel_sees_only_those_before_it(images):
    likely = PixelCNN(levels=4, reach=2, width=8)
    logits = likely(images)
    assert logits.shape == (6, 20, 20, 4)
    changed = images.clone()
    changed[:, :, 7, 9] = 1 - changed[:, :, 7, 9]
    moved = (likely(changed) - logits).abs().amax((0, 3)) > 0
    assert not moved[:7].any()
    assert not moved[7, :10].any()
    assert moved[7, 10]
    canvas = likely.padded(images)
    for row, column in ((0, 0), (3, 19), (19, 7)):
        assert torch.allclose(likely.at(canvas, row, column), logits[:, row, column], atol=1e-6)


def test_purified_pixels_stay_near_and_become_likelier(images):
    likely = PixelCNN(levels=8, reach=2, width=16)
    noisy = (images + 0.1 * torch.randn_like(images)).clamp(0, 1)
    pure = PixelDefend(likely, 0.2)(noisy)
    assert (pure - noisy).abs().max() <= 0.2 + 1e-6
    assert torch.allclose((pure * 7).round(), pure * 7, atol=1e-5)
    chances = likely(pure)
    far = (torch.linspace(0, 1, 8) - noisy[:, 0, ..., None]).abs() > 0.2
    assert torch.equal(chances.masked_fill(far, -torch.inf).argmax(3), (pure[:, 0] * 7).round().long())


def test_what_a_generator_made_passes_defense_gan():
    decode = VAE((1, 6, 6), latent=3, width=32).decode
    made = decode(torch.randn(5, 3)).detach()
    back = DefenseGAN(decode, 3, restarts=4, steps=150)(made)
    assert (back - made).abs().max() < 0.02
    assert not back.requires_grad


# -- architecture ------------------------------------------------------------------------------------------------------


def test_pruning_keeps_the_mean_and_zeros(images):
    h = torch.randn(1, 4, 5, 5)
    h[:, 0] = 0
    layer = StochasticPruning()
    many = layer(h.expand(20000, 4, 5, 5))
    assert (many.mean(0) - h[0]).abs().max() < 0.1
    assert (many == 0).float().mean() > 0.4
    assert torch.equal(layer(torch.zeros(2, 3)), torch.zeros(2, 3))
    x = h.clone().requires_grad_()
    (through,) = torch.autograd.grad(StochasticPruning(straight=True)(x).sum(), x)
    assert (through[h != 0] >= 0).all()


def test_exactly_k_win():
    h = torch.randn(3, 4, 5, 5)
    kept = KWinners(0.1)(h)
    assert ((kept != 0).flatten(1).sum(1) == 10).all()
    assert torch.equal(kept[kept != 0], h[kept != 0])
    assert (
        h.masked_fill(kept != 0, -torch.inf).flatten(1).amax(1) <= h.masked_fill(kept == 0, torch.inf).flatten(1).amin(1)
    ).all()


def test_a_quantized_network_and_its_straight_through_copy():
    net = SmallCNN((1, 8, 8), 4, width=4)
    x = torch.rand(5, 1, 8, 8).requires_grad_()
    low = quantized(net, 0.01, 10)
    (gradient,) = torch.autograd.grad(low(x).sum(), x)
    assert not gradient.any()
    model, _ = straight_through(low)
    assert torch.equal(model.logits(x), low(x))
    (seen,) = torch.autograd.grad(model.logits(x)[:, 0].sum(), x)
    (smooth,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    assert torch.allclose(seen, smooth)
    assert smooth.any()


def test_replacing_leaves_the_original_alone():
    net = SmallCNN((1, 8, 8), 4, width=4).eval()
    thin = replaced(net, nn.ReLU, lambda relu: nn.Sequential(relu, TestTimeDropout(0.5))).eval()
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(x), net(x))
    assert not torch.equal(thin(x), thin(x))
    assert len(thin.state_dict()) == len(net.state_dict())


def test_nan_off_the_grid():
    net = NaNOffGrid(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    x = torch.randint(256, (5, 1, 2, 2)) / 255
    assert net(x).isfinite().all()
    x[2, 0, 0, 0] += 0.0004 if x[2, 0, 0, 0] < 0.5 else -0.0004
    assert net(x).isnan().all(1).tolist() == [False, False, True, False, False]


# -- detectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 3, 8])
def test_lid_knows_the_dimension_of_a_flat(dimension):
    points = torch.rand(4000, dimension) @ torch.linalg.qr(torch.randn(20, dimension))[0].T
    estimate = lid(points[:300], points, 20, itself=True).mean()
    assert 0.75 * dimension < estimate < 1.15 * dimension
    assert lid(points[:1].expand(3, 20), points[:1].expand(30, 20), 20).isfinite().all()
    with pytest.raises(sp.SaddlepointError, match="20 neighbors need as many other points"):
        lid(points[:2], points[:20], 20, itself=True)


def test_lid_finds_what_is_off_the_data(workshop):
    net = workshop.plain()
    x, y = workshop.data.batch(range(160))
    x_adv = sp.attack(net, x, y, "linf:0.4", sp.attacks.PGD(steps=10)).x_adv
    fitted = LID(neighbors=10, reference=40).fit(net, x[:120], x_adv[:120])
    clean, off = fitted.score(x[120:]), fitted.score(x_adv[120:])
    assert (off[:, None] > clean).float().mean() > 0.8
    limit = fitted.threshold(x[:120], 0.1)
    assert (fitted.score(x[:120]) > limit).float().mean() <= 0.1
    leaf = x[:3].clone().requires_grad_()
    assert torch.autograd.grad(fitted.score(leaf).sum(), leaf)[0].isfinite().all()


def test_a_guarded_model_has_one_class_more():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    x = torch.rand(50, 1, 2, 2)
    guarded = Guarded(net, lambda x: x.flatten(1).mean(1), 0.5, classes=3)
    with pytest.raises(ModelError, match="was told of 4 classes, and the model has 3"):
        Guarded(net, guarded.score, 0.5, classes=4).logits(x)
    logits, rejected = guarded.logits(x), x.flatten(1).mean(1) > 0.5
    assert logits.shape == (50, 4)
    assert torch.equal(logits[:, :3], net(x))
    assert torch.equal(guarded.labels(x) == guarded.rejection, rejected)
    assert torch.equal(guarded.labels(x)[~rejected], net(x).argmax(1)[~rejected])
    for score in (0.5, 0.5 + 1e-7):  # equality passes, and the least above it does not
        edge = Guarded(
            nn.Sequential(net, nn.Linear(3, 3), nn.Softplus(1e-4)),
            lambda x, s=score: torch.full((len(x),), s),
            0.5,
            classes=3,
        )
        assert (edge.labels(x) == 3).all() == (torch.tensor(score) > 0.5)
    assert guarded.access is sp.Access.GRADIENTS
    blind = Guarded(
        sp.CallableModel(lambda x: x.sum((1, 2, 3)).astype(int) % 3, returns="labels"), guarded.score, 0.5, classes=3
    )
    assert torch.equal(blind.labels(x) == 3, rejected)
    with pytest.raises(sp.SaddlepointError, match=r"one score an input, shape \(50,\); got \(50, 2\)"):
        Guarded(net, lambda x: x.flatten(1)[:, :2], classes=3).logits(x)


def test_unnoticed_is_wrong_and_not_rejected():
    goal = sp.Untargeted(torch.tensor([0, 0, 0, 0]), 3)
    logits = torch.tensor([[2.0, 1, 0, 0], [1, 2, 0, 3], [1, 3, 0, 2], [1, 2, 2, 2]])
    assert goal.reached(logits.argmax(1)).tolist() == [False, False, True, True]
    assert goal.margin(logits).tolist() == [1, 1, -1, 0]
    assert torch.allclose(goal.cross_entropy(logits), torch.tensor([0, 1.0]).new_tensor([
        np.logaddexp(2, 0) - np.logaddexp(1, 0), np.logaddexp(1, 3) - np.logaddexp(2, 0),
        np.logaddexp(1, 2) - np.logaddexp(3, 0), np.logaddexp(1, 2) - np.logaddexp(2, 2),
    ]))  # fmt: skip
    assert goal.select(torch.tensor([1, 2])).rejection == 3


def test_an_attack_gets_past_a_guard_by_its_gradient(workshop):
    """Rejects dark corners: an attack that knows brightens them, and one for a mere rejection has it easier."""
    net = workshop.plain()
    x, y = workshop.data.batch(range(40))
    guarded = Guarded(net, lambda x: 4 * (x - 0.4).flatten(1).mean(1), 0.0, classes=4)
    noticed = sp.attack(guarded, x, sp.Untargeted(y), "linf:0.4", sp.attacks.PGD(steps=20))
    unnoticed = sp.attack(guarded, x, y, "linf:0.4", sp.attacks.PGD(steps=20, loss="margin"))
    found = unnoticed.rows(sp.Outcome.FOUND)
    assert found.sum() > 20
    answers = guarded.labels(unnoticed.x_adv[found])
    assert ((answers != y[found]) & (answers != 4)).all()
    assert noticed.rows(sp.Outcome.FOUND).sum() >= found.sum()


# -- training, and the gallery -----------------------------------------------------------------------------------------


def test_a_distilled_network_is_right_and_saturated(workshop):
    def make():
        return SmallCNN((1, 8, 8), 4, width=4)

    student, x, y = make(), *workshop.data.batch(range(160))
    trainer = Trainer(epochs=12, learning_rate=5e-3, batch=16)
    distill(student, make, workshop.data, trainer, 20.0)
    plain = make()
    trainer.fit(plain, workshop.data)
    with torch.no_grad():
        assert (student(x).argmax(1) == y).float().mean() > 0.95
        spread = [float((net(x).amax(1) - net(x).mean(1)).mean()) for net in (student, plain)]
    assert spread[0] > 3 * spread[1]


def test_networks_are_trained_once(workshop, monkeypatch):
    first = workshop.behind(BitDepth(3))
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = workshop.behind(BitDepth(3))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(first(x), again(x))


def test_the_gallery_is_whole():
    assert len(GALLERY) >= 18
    for name, one in GALLERY.items():
        assert one.name == name
        assert one.about.endswith(".")
        assert one.published is None or 0 <= one.published.broken <= 1
    with pytest.raises(sp.SaddlepointError, match=r"no defense 'jpg'\. Did you mean 'jpeg'"):
        entry("jpg")


def test_the_committed_figures_say_that_every_entry_is_broken():
    table = json.loads((Path(__file__).parents[2] / "benchmarks" / "gallery.json").read_text())["entries"]
    assert set(table) == set(GALLERY)
    for name, row in table.items():
        assert row["threat"] == GALLERY[name].threat
        assert row["clean"] > 0.8, name
        assert row["adaptive"] < 0.2, name
        if name != "silent-detector":  # it hides nothing
            assert max(row["naive"], row["textbook"]) > row["adaptive"] + 0.2, name


SMALL = [name for name in GALLERY if name not in ("resize-pad", "quilting", "pixel-defend", "defense-gan", "lid")]


@pytest.mark.parametrize("name", SMALL)
def test_every_entry_answers_and_can_be_attacked(workshop, name):
    one = entry(name)
    shipped = one.build(workshop)
    x, y = workshop.data.batch(range(12))
    model = shipped if isinstance(shipped, sp.Model) else sp.TorchModel(shipped)
    with model.session(), torch.no_grad():
        answers = model.labels(x)
        assert one.random != torch.equal(model.logits(x), model.logits(x))
    assert (answers >= 0).all()
    seen, _ = one.adaptive(shipped)
    result = sp.attack(seen, x, y, "linf:0.5", sp.attacks.PGD(steps=6, loss="margin"), **one.how)
    assert (result.gradients > result.blank).any()
