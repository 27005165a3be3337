"""Universal perturbations: learned on some inputs, played on others, saved and read back."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import saddlepoint as sp
from saddlepoint.attacks.learned.perturbation import Learned, Perturbation
from saddlepoint.core.config import from_config, from_toml, to_config, to_toml
from saddlepoint.core.errors import AccessError, InputError
from saddlepoint.core.noise import Noise
from saddlepoint.core.result import Share
from saddlepoint.data import load
from saddlepoint.metrics import fooling_rate, fooling_table

UAP, UniversalPGD = sp.attacks.UAP, sp.attacks.UniversalPGD
METHODS = [UAP(epochs=3), UniversalPGD()]
both = pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
THREATS = ["linf:0.2", "l2:1.2"]


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


@pytest.fixture(scope="module")
def digits():
    """A small net for 8 x 8 digits, 150 digits to learn on and 200 to play on."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model = sp.Trainer(epochs=10, learning_rate=1e-2).fit(net, load("digits", "train"))
    return model, *load("digits", "train").batch(range(150)), load("digits").batch(range(200))[0]


@pytest.fixture(scope="module")
def learned(digits):
    """Every method under every threat, learned once."""
    model, x, y, _ = digits
    return {(type(m).__name__, t): sp.fit(model, x, y, t, m) for m in METHODS for t in THREATS}


@both
@pytest.mark.parametrize("threat", THREATS)
def test_it_fools_far_more_than_noise_of_equal_norm(digits, learned, method, threat):
    model, _, _, others = digits
    found = learned[type(method).__name__, threat]
    size = threat.partition(":")[2]
    noise = Noise(0, torch.arange(5)).normal(1, 8, 8)
    noise = (
        noise.sign() * float(size)
        if threat.startswith("linf")
        else noise / noise.flatten(1).norm(dim=1)[:, None, None, None]
    )
    noise = noise if threat.startswith("linf") else noise * float(size)
    by_noise = max(fooling_rate(model, others, threat, Perturbation.of(remade(found, delta))).value for delta in noise)
    assert fooling_rate(model, others, threat, found).value > max(0.35, 2 * by_noise)


def remade(perturbation, delta):
    """The same with other numbers."""
    old = perturbation.learned
    return Learned(delta, old.method, old.threat, old.bounds, Share(0, 0), 0, 0)


@both
@pytest.mark.parametrize("threat", THREATS)
def test_the_change_itself_has_the_norm_and_what_is_played_is_in_the_box(digits, learned, method, threat):
    model, _, _, others = digits
    found = learned[type(method).__name__, threat]
    delta = found.learned.delta
    order = float("inf") if threat.startswith("linf") else 2
    assert 0.5 * found_radius(threat) < delta.flatten().norm(order) <= found_radius(threat) * (1 + 1e-6)
    assert (others + delta).min() < 0
    result = sp.attack(model, others, model.labels(others), threat, found)
    rows = result.rows(sp.Outcome.FOUND)
    assert not result.rows(sp.Outcome.ESCAPED).any()
    assert torch.allclose(result.x_adv[rows], (others + delta).clamp(0, 1)[rows], atol=1e-6)
    assert result.backwards == 0
    assert (result.queries <= 2).all()


def found_radius(threat):
    return float(threat.partition(":")[2])


@both
def test_what_it_says_of_itself_is_so(digits, learned, method):
    model, x, _, _ = digits
    found = learned[type(method).__name__, "linf:0.2"].learned
    assert found.fooled == fooling_rate(model, x, "linf:0.2", learned[type(method).__name__, "linf:0.2"])
    assert found.method == to_config(method)
    assert (found.threat, found.bounds) == ("linf:0.2", (0.0, 1.0))


def test_passes_are_counted(digits):
    _, x, y, _ = digits
    asked = []

    def answer(z):
        asked.append(len(z))
        return torch.stack([z.flatten(1).sum(1), 30 - z.flatten(1).sum(1)], dim=1)

    model = sp.TorchModel(Function(answer))
    for method in (UAP(epochs=2, batch=40), UniversalPGD(epochs=2)):
        asked.clear()
        found = sp.fit(model, x, y % 2, "linf:0.05", method).learned
        assert found.forwards == sum(asked)
        assert 0 < found.backwards <= found.forwards * 9


def test_the_paper_reaches_the_rate_it_was_asked_for(digits):
    model, x, y, others = digits
    told = []
    for rate in (0.3, 0.6):
        found = sp.core.play.fit(model, x, y, "linf:0.3", UAP(fooling_rate=rate, batch=8))
        assert found.learned.fooled.value >= rate
        told.append(found.learned.forwards)
        assert fooling_rate(model, others, "linf:0.3", found).value > rate - 0.15
    assert told[0] <= told[1]


@both
def test_a_linear_model_is_fooled_at_the_exact_radius(method):
    """All inputs lie at distance 0.1 of one plane: the sign of its normal fools all, and a little less fools none."""
    weight = Noise(0, torch.arange(1)).normal(16).flatten() + 0.1
    x = 0.5 + 0.1 * (Noise(1, torch.arange(40)).uniform(16) - 0.5)
    excess = (x - 0.5) @ weight - 0.1 * weight.abs().sum()
    x = x - excess[:, None] * weight / weight.square().sum()

    def answer(z):
        value = (z - 0.5) @ weight
        return torch.stack([value, torch.zeros_like(value)], dim=1)

    model = sp.TorchModel(Function(answer))
    y = model.labels(x)
    assert (y == 0).all()
    assert sp.fit(model, x, y, "linf:0.105", UniversalPGD()).learned.fooled.value == 1
    assert sp.fit(model, x, y, "linf:0.09", method).learned.fooled.value == 0


@both
def test_the_seed_alone_decides(digits, method):
    model, x, y, _ = digits
    few = UAP(epochs=1, batch=10) if isinstance(method, UAP) else UniversalPGD(epochs=1)
    state = torch.get_rng_state()
    first, again, other = (sp.fit(model, x[:40], y[:40], "linf:0.1", few, seed=s) for s in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.learned.delta, again.learned.delta)
    assert first == again
    assert not torch.equal(first.learned.delta, other.learned.delta)
    assert first != other


def test_labels_play_no_part_and_a_target_does(digits):
    model, x, y, others = digits
    few = UniversalPGD(epochs=3)
    assert sp.fit(model, x, y, "linf:0.2", few) == sp.fit(model, x, (y + 1) % 10, "linf:0.2", few)
    towards = sp.fit(model, x, sp.Targeted(torch.full_like(y, 3)), "linf:0.3", UniversalPGD())
    answers = model.labels((others + towards.learned.delta).clamp(0, 1))
    assert (answers == 3).float().mean() > 0.4 > (model.labels(others) == 3).float().mean() + 0.2


# -- the record and its file -------------------------------------------------------------------------------------------


def test_saved_and_read_back(digits, learned, tmp_path):
    model, _, _, others = digits
    found = learned["UniversalPGD", "linf:0.2"]
    saved = found.save(tmp_path / "uap.safetensors")
    again = from_toml(to_toml(saved), "attack")
    assert again == saved
    assert eval(repr(saved), {"Perturbation": Perturbation}) == saved
    y = model.labels(others)
    plays = [sp.attack(model, others, y, "linf:0.2", a) for a in (found, saved, again, Perturbation(file=saved.file))]
    assert all(torch.equal(plays[0].x_adv, p.x_adv) for p in plays[1:])
    assert again.learned.fooled == found.learned.fooled
    assert again.learned.method == found.learned.method
    nested = from_config(to_config(sp.attacks.Cascade(attacks=(again, sp.attacks.FGSM()))), "attack")
    assert nested.attacks[0] == saved


@pytest.mark.parametrize("method", [*METHODS, UAP(batch=1, steps=3), UniversalPGD(step_size="1/255", momentum=0)], ids=repr)
def test_what_is_learned_is_a_record(method):
    assert eval(repr(method), {"UAP": UAP, "UniversalPGD": UniversalPGD}) == method
    assert from_toml(to_toml(method), "learned") == method
    assert type(method).__name__ in sp.attacks.__dir__()


def test_a_smaller_radius_projects(digits, learned):
    model, _, _, others = digits
    result = sp.attack(model, others, model.labels(others), "linf:0.1", learned["UniversalPGD", "linf:0.2"])
    found = result.rows(sp.Outcome.FOUND)
    assert found.any()
    assert result.size[found].max() <= 0.1 + 1e-6


def test_what_cannot_be_played_is_said(digits, learned, tmp_path, monkeypatch):
    model, x, _, _ = digits
    monkeypatch.chdir(tmp_path)
    found = learned["UAP", "linf:0.2"]
    saved = found.save("a.safetensors")
    learned["UniversalPGD", "linf:0.2"].save("b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    save_file({"delta": torch.ones(2)}, "d.safetensors")
    cases = [
        (Perturbation(), model, x, "There is no file perturbation.safetensors"),
        (from_toml(to_toml(found), "attack"), model, x, "known only where it was learned"),
        (Perturbation(file="b.safetensors", sha256=saved.sha256), model, x, "another perturbation than was meant"),
        (Perturbation(file="c.safetensors"), model, x, "holds no learned perturbation"),
        (Perturbation(file="d.safetensors"), model, x, "holds no learned perturbation"),
        (saved, model, x[..., :4], r"for inputs of shape \(1, 8, 8\); got \(1, 8, 4\)"),
        (saved, sp.TorchModel(model.net, bounds=(-1, 1)), x, r"within \(0.0, 1.0\)"),
    ]
    for attack, on, inputs, said in cases:
        on = on if inputs.shape[-1] == 8 else sp.TorchModel(nn.Sequential(nn.Flatten(), nn.Linear(32, 10)))
        with pytest.raises(InputError, match=said):
            sp.attack(on, inputs, on.labels(inputs), "linf:0.2", attack)
    with pytest.raises(InputError, match="Could not write"):
        found.save(tmp_path / "no" / "such.safetensors")


def test_what_cannot_be_learned_is_said(digits):
    model, x, y, _ = digits
    with pytest.raises(InputError, match="linf has none"):
        sp.fit(model, x, y, "linf", "UAP")
    with pytest.raises(InputError, match="Linf, L2"):
        sp.fit(model, x, y, "l1:3", "UniversalPGD")
    with pytest.raises(InputError, match="UAP is learned on examples first"):
        sp.attack(model, x, y, "linf:0.1", "UAP")
    blind = sp.CallableModel(lambda z: model.logits(z).detach())
    with pytest.raises(AccessError):
        sp.fit(blind, x, y, "linf:0.1", "UAP")
    broken = sp.TorchModel(Function(lambda z: model.logits(z) * torch.nan))
    with pytest.raises(InputError, match="index 0 with NaN"):
        sp.fit(broken, x, y, "linf:0.1", "UniversalPGD")


@both
def test_a_model_that_answers_nan_to_what_is_changed_is_not_fooled(digits, method):
    model, x, y, _ = digits
    clean = x[:20]

    def answer(z):
        known = (z[:, None] == clean[None]).flatten(2).all(2).any(1)
        return model.logits(z).where(known[:, None], torch.nan)

    found = sp.fit(sp.TorchModel(Function(answer)), clean, y[:20], "linf:0.2", method)
    assert found.learned.fooled.count == 0
    assert found.learned.delta.isfinite().all()


# -- rates and the command line ----------------------------------------------------------------------------------------


def test_fooling_compares_with_the_clean_answer_not_the_label(digits, learned):
    model, _, _, others = digits
    found = learned["UniversalPGD", "linf:0.2"]
    changed = model.labels((others + found.learned.delta).clamp(0, 1)) != model.labels(others)
    assert fooling_rate(model, others, "linf:0.2", found) == Share(int(changed.sum()), len(others))
    assert fooling_rate(model, others[:0], "linf:0.2", found).n == 0


def test_a_table_has_a_rate_for_every_pair(digits, learned):
    model, _, _, others = digits
    flat = sp.TorchModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)))
    flat.net[1].weight.data.zero_()  # always class 0
    methods = {name: learned[name, "linf:0.2"] for name in ("UAP", "UniversalPGD")}
    table = fooling_table(methods, {"net": model, "flat": flat}, others, "linf:0.2")
    assert table["UAP"]["net"] == fooling_rate(model, others, "linf:0.2", methods["UAP"])
    assert table["UAP"]["flat"] == table["UniversalPGD"]["flat"] == Share(0, 200)
    with pytest.raises(InputError, match="at least one method"):
        fooling_table({}, {"net": model}, others, "linf:0.2")


def test_the_command_line_learns_saves_and_plays(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from saddlepoint.cli.app import app

    def run(*words):
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path))
    out = str(tmp_path / "found.safetensors")
    where = ["--data", "digits", "--threat", "linf:0.2", "--limit", "60"]
    first = run("attack", "UniversalPGD", *where, "--learn-on", "100", "--set", "epochs=4", "--out", out)
    assert first["learned_on"] == 100
    assert first["fooling_rate"]["n"] == first["n"] == 60
    assert first["attack"]["name"] == "UniversalPGD"
    assert {"delta", "x_adv", "outcome"} <= set(load_file(out))
    again = run("attack", "Perturbation", *where, "--set", f"file={out}")
    assert again["outcomes"] == first["outcomes"]
    assert {row["name"] for row in run("list", "learned")["learned"]} >= {"UAP", "UniversalPGD"}
    toml = tmp_path / "mine.toml"
    toml.write_text('name = "UniversalPGD"\nepochs = 4\n')
    assert run("attack", str(toml), *where, "--learn-on", "100")["outcomes"] == first["outcomes"]
    said = CliRunner().invoke(app, ["train", str(tmp_path / "w.safetensors"), "--attack", "UAP", "--threat", "linf:0.1"])
    assert said.exit_code == 2


def test_data_without_a_training_part_is_split(tmp_path, monkeypatch):
    import numpy as np

    from saddlepoint.cli.work import lessons

    x, y = load("digits").batch(range(30))
    np.savez(tmp_path / "d.npz", x=x.numpy(), y=y.numpy())
    whole = load(tmp_path / "d.npz")
    ids = torch.arange(0, 30, 3)
    train, chosen = lessons(str(tmp_path / "d.npz"), whole, ids, 500, 0)
    learned_on, played_on = train.batch(chosen)[0], whole.batch(ids)[0]
    assert len(learned_on) == 20
    assert not any((row == played_on).flatten(1).all(1).any() for row in learned_on)
    with pytest.raises(InputError, match="no examples to learn on"):
        lessons(str(tmp_path / "d.npz"), whole, torch.arange(30), 500, 0)
