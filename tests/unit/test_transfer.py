"""What is crafted on one model and shown to another; imitations by answers alone; the tables."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.attacks.transfer.substitute import Substitute
from saddlepoint.attacks.transfer.tables import attack_sources, confidence_sweep, cross_model, cross_training_set
from saddlepoint.attacks.transfer.transfer import Transfer
from saddlepoint.cli.app import app
from saddlepoint.core.config import from_json, from_toml, to_json, to_toml
from saddlepoint.core.errors import AccessError, InputError, ModelError
from saddlepoint.data import Arrays
from saddlepoint.models.train import save_weights, seeded
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.papers import PAPERS, reproduce, szegedy2014_halves, szegedy2014_transfer
from saddlepoint.testing import laws
from saddlepoint.testing.oracles import Wavy

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
# What a law asks of a search is not asked of an attack that sees nothing of the model.
HOLDS = {
    "stays_inside", "on_the_grid", "constant_and_shattered", "already_wrong", "reproducible", "batch_invariant",
    "leaves_no_trace", "counts_queries", "bounds_its_passes", "speaks_the_language",
}  # fmt: skip
PLAYED = [
    Transfer(attack=a.PGD(steps=10), source=Wavy()),
    Transfer(attack=a.DDN(steps=10), source=[Wavy(), Wavy(scale=2.0)]),
]


@pytest.mark.parametrize("law", [law for attack in PLAYED for law in laws(attack) if law.name in HOLDS], ids=str)
def test_laws_that_are_about_it(law):
    law()


def test_the_target_is_asked_twice_whatever_the_source_costs():
    target = Wavy()
    x, y = target.inputs(5)
    before = target.asked
    result = sp.attack(target, x, y, "linf:0.15", Transfer(attack=a.PGD(steps=20), source=Wavy()))
    assert result.queries.tolist() == [2] * 5
    assert target.asked - before == result.forwards <= 15
    assert result.backwards == 0


def test_on_itself_it_finds_what_the_attack_finds():
    model = Wavy()
    x, y = model.inputs(8)
    for method, threat in ((a.PGD(steps=20), "linf:0.15"), (a.DDN(steps=20), "l2"), (a.Square(steps=50), "l2:0.6")):
        plain = sp.attack(model, x, y, threat, method, stop=sp.Stop.NEVER)
        moved = sp.attack(model, x, y, threat, Transfer(attack=method, source=model))
        assert moved.success_rate.count >= plain.success_rate.count - 1, method
        goal = sp.Targeted((y + 1) % 3)
        assert sp.attack(model, x, goal, threat, Transfer(attack=method, source=model)).success_rate.count > 0


class Answers(Wavy):
    """Labels alone."""

    def __init__(self):
        super().__init__(access=sp.Access.LABELS)


def test_a_model_that_only_answers_can_be_the_target_but_not_the_source_of_gradients():
    x, y = Wavy().inputs(4)
    result = sp.attack(Answers(), x, y, "linf:0.15", Transfer(attack=a.PGD(steps=10), source=Wavy()))
    assert result.success_rate.count > 0
    with pytest.raises(AccessError, match="PGD needs gradients"):
        sp.attack(Wavy(), x, y, "linf:0.15", Transfer(attack=a.PGD(), source=Answers()))


def test_an_untargeted_attack_leaves_the_answer_of_its_source_right_or_wrong():
    source, target = linear(0), Wavy()
    x, y = target.inputs(12)
    own = source.labels(x)
    assert 0 < int((own != y).sum()) < 12
    result = sp.attack(target, x, y, "linf:0.4", Transfer(attack=a.PGD(steps=20), source=source))
    assert (source.labels(result.x_adv) != own).all()


def test_as_plain_data(tmp_path, monkeypatch):
    named = Transfer(attack=a.PGD(steps=7), source="saddlepoint.testing.oracles:Wavy")
    for there, back in ((to_json, from_json), (to_toml, from_toml)):
        assert back(there(named), "attack") == named
    x, y = Wavy().inputs(4)
    held = Transfer(attack=a.PGD(steps=7), source=Wavy())
    assert torch.equal(*(sp.attack(Wavy(), x, y, "linf:0.1", t).outcome for t in (named, held)))
    copy = from_json(to_json(held), "attack")
    assert copy == held
    with pytest.raises(InputError, match="known only where it was given"):
        sp.attack(Wavy(), x, y, "linf:0.1", copy)
    net = SmallCNN((1, 8, 8), 10)
    save_weights(net, tmp_path / "w.safetensors")
    x, y = torch.rand(3, 1, 8, 8), torch.zeros(3).long()
    saved = Transfer(attack=a.FGSM(), source=f"small-cnn@{tmp_path / 'w.safetensors'}")
    assert torch.equal(
        *(sp.attack(net, x, y, "linf:0.1", t).outcome for t in (saved, Transfer(attack=a.FGSM(), source=net)))
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ((), "needs a source"),
        ("small-cnn", "no weights of its own"),
        ("small-cnn@nowhere.safetensors", "no file of weights"),
        ("nothing", "no model named"),
        (sp.TorchModel(nn.Flatten(), bounds=(0, 255)), r"within \(0\.0, 255\.0\)"),
    ],
)
def test_sources_that_are_none(source, sentence):
    x, y = Wavy().inputs(2)
    with pytest.raises(InputError, match=sentence):
        sp.attack(Wavy(), x, y, "linf:0.1", Transfer(source=source))


def test_a_source_must_be_a_model():
    with pytest.raises(InputError, match="a model, or text that names one"):
        Transfer(source=5)


# -- imitation ---------------------------------------------------------------------------------------------------------


class Counting(sp.CallableModel):
    """A linear oracle that counts."""

    def __init__(self):
        self.rows = []
        weight = np.random.RandomState(1).randn(16, 3)
        super().__init__(lambda x: self.note(x).reshape(len(x), -1) @ weight, returns="logits")
        self.returns, self.access = "labels", sp.Access.LABELS
        inner = self.function
        self.function = lambda x: inner(x).argmax(1)

    def note(self, x):
        self.rows.append(x)
        return x


@pytest.mark.parametrize(
    ("how", "queries"),
    [({"rounds": 1}, 20), ({"rounds": 4}, 160), ({"rounds": 5, "warmup": 2, "reservoir": 30}, 20 * 4 + 30 * 2)],
)
def test_the_oracle_is_asked_exactly_as_often_as_said(how, queries):
    oracle = Counting()
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    method = Substitute(epochs=2, width=20, batch=16, **how)
    found = method.fit(oracle, x, classes=3)
    asked = np.concatenate(oracle.rows)
    assert len(asked) == found.queries == method.queries(20) == queries == found.rounds[-1].points
    assert torch.equal(torch.from_numpy(asked), found.x)
    assert torch.equal(found.x[:20], x)
    assert sum(r.asked for r in found.rounds) == queries
    again = method.fit(Counting(), x, classes=3)
    assert torch.equal(again.x, found.x)
    assert torch.equal(found.y, oracle.labels(found.x))


def test_new_points_are_one_step_along_the_slope_of_the_oracles_answer():
    x = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    turned = Substitute(rounds=2, epochs=1, width=8, step_size=0.1, clip=False).fit(Counting(), x, classes=3)
    step = turned.x[20:] - turned.x[:20]
    assert torch.allclose(step.abs(), torch.full_like(step, 0.1), atol=1e-6)
    # With a period of one round, the second step goes the other way.
    plain = Substitute(rounds=3, epochs=1, width=8, clip=False)
    flipped = Substitute(rounds=3, epochs=1, width=8, clip=False, period=1)
    one, other = (method.fit(Counting(), x, classes=3) for method in (plain, flipped))
    assert torch.equal(one.x[:40], other.x[:40])
    assert torch.allclose(one.x[40:] - one.x[:40], other.x[:40] - other.x[40:], atol=1e-6)
    assert Substitute(rounds=3, step_size=0.5, epochs=1, width=8).fit(Counting(), x, classes=3).x.max() <= 1


def test_a_reservoir_is_a_fair_draw():
    method, draws = Substitute(reservoir=10, warmup=0), torch.Generator().manual_seed(0)
    drawn = [method._chosen(40, 0, draws) for _ in range(2000)]
    assert all(len(set(d.tolist())) == 10 for d in drawn)
    counts = torch.cat(drawn).bincount(minlength=40)
    assert (counts - 500).abs().max() < 100  # five standard deviations of a binomial with n = 2000 and p = 1 / 4


def test_a_substitute_learns_the_oracle_and_what_fools_it_fools_the_oracle():
    generator = torch.Generator().manual_seed(3)
    oracle, x = Counting(), torch.rand(60, 1, 4, 4, generator=generator)
    found = Substitute(rounds=5, epochs=20, width=50).fit(oracle, x)
    others = torch.rand(200, 1, 4, 4, generator=generator)
    y = oracle.labels(others)
    assert float((found.model.labels(others) == y).float().mean()) > 0.8
    crafted = sp.attack(oracle, others, y, "linf:0.2", Transfer(attack=a.FGSM(), source=found.model))
    stranger = seeded(lambda: Substitute().perceptron(16, 3), 0)
    blind = sp.attack(oracle, others, y, "linf:0.2", Transfer(attack=a.FGSM(), source=stranger))
    assert crafted.success_rate.value > blind.success_rate.value + 0.3


def test_an_oracle_with_more_answers_than_outputs():
    x = torch.rand(100, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert Counting().labels(x).max() == 2
    with pytest.raises(ModelError, match="Say how many classes there are"):
        Substitute(rounds=1).fit(Counting(), x, nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
    with pytest.raises(InputError, match="x has none"):
        Substitute().fit(Counting(), torch.rand(0, 1, 4, 4))


# -- tables ------------------------------------------------------------------------------------------------------------


def linear(seed, noise=0.0):
    """A linear network, near another one of the same seed."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(3, 16, generator=generator))
        net[1].weight.add_(noise * torch.randn(3, 16, generator=generator))
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
    return sp.TorchModel(net)


def three():
    models = {"one": linear(0), "near": linear(0, 0.1), "other": linear(1)}
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    return models, x, models["one"].labels(x)


def test_what_fools_a_model_fools_its_neighbor_more_than_a_stranger():
    models, x, y = three()
    table = cross_model(models, x, y, a.CarliniWagner(confidence=2), amplify=(0.2,))
    assert table.columns == ("one", "near", "other")
    row = table.row("one")
    assert row.cells[0].value == 1
    assert row.cells[0].n == 40
    assert row.cells[1].value > 0.9
    noise = next(r for r in table.rows if r.kind == "noise" and r.name.endswith("as one"))
    assert noise.distortion == pytest.approx(row.distortion, rel=0.1)
    assert noise.cells[0].value < 0.5
    stretched, clipped = table.row("one to 0.2", "amplified"), table.row("one to 0.2", "clipped")
    assert stretched.distortion == pytest.approx(0.2)
    assert clipped.distortion < 0.2
    assert table.row("clean", "clean").cells[0].count == 0
    assert json.loads(json.dumps(table.data()))["rows"][1]["cells"][0] == {"count": 40, "n": 40}
    whole = cross_model(models, x, y, "FGSM", "linf:0.2", targets=False, noise=(0.1,))
    parts = cross_model(models, x, y, "FGSM", "linf:0.2", targets=False, noise=(0.1,), batch=7)
    assert whole == parts
    assert len(whole.rows) == 5


def test_rows_and_markdown_of_a_table(tmp_path):
    models, x, y = three()
    table = cross_model(models, x[:5], y[:5], "FGSM", "linf:0.3", noise=())
    assert len(table.markdown().splitlines()) == 2 + 4
    for name in ("t.json", "t.md"):
        table.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 100
    with pytest.raises(InputError, match=r"as \.json or \.md"):
        table.save(tmp_path / "t.png")


def test_across_training_sets():
    _models, x, y = three()
    data = Arrays("random", x.numpy(), y.numpy())
    seen = []

    def fit(net, lessons):
        seen.append({row.numpy().tobytes() for row in lessons.batch(range(len(lessons)))[0]})
        return sp.Trainer(epochs=20, learning_rate=0.1).fit(net, lessons)

    nets = {
        "a": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
        "b": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
    }
    table = cross_training_set(nets, data, x, y, a.DDN(steps=20), fit=fit)
    assert table.columns == ("a", "b", "a'")
    first, same, second = seen
    assert first == same
    assert not first & second
    assert len(first | second) == 40


def test_sources_of_an_attack():
    models, x, y = three()
    table = attack_sources(models["one"], models, x, y, ["FGSM", a.PGD(steps=10)], "linf:0.1")
    assert [row.name for row in table.rows] == ["natural", "FGSM", "PGD(steps=10)"]
    white, near, other = table.row("PGD(steps=10)").cells
    assert white.count <= near.count <= other.count
    assert table.row("natural", "clean").cells[0].value == 1


def test_confidence_buys_transfer():
    models, x, y = three()
    table = confidence_sweep(models["one"], models["other"], x, y, (0, 5))
    low, high = table.rows
    assert low.cells[0].n == 40 - 0
    assert high.distortion > low.distortion
    assert high.cells[1].count >= low.cells[1].count
    with pytest.raises(InputError, match="FGSM has no confidence"):
        confidence_sweep(models["one"], models["other"], x, y, (0,), a.FGSM())


# -- papers and shell --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [szegedy2014_transfer, szegedy2014_halves], ids=lambda m: m.__name__.rpartition(".")[2])
def test_published_numbers_belong_to_the_table(module):
    published, networks = module.PUBLISHED, module.NETWORKS
    assert published.columns == networks
    assert set(published.distortions) < set(published.rows)
    assert all(len(row) == len(networks) and all(0 <= v <= 100 for v in row) for row in published.rows.values())
    assert all(published.rows[name, "crafted"][i] == 100 for i, name in enumerate(networks))


def test_a_table_that_there_is_not():
    with pytest.raises(LookupError, match="Did you mean 'szegedy2014-transfer'"):
        reproduce("szegedy-transfer")


def shell(*words):
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_tables_from_the_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        torch.manual_seed(ord(name))
        save_weights(SmallCNN((1, 8, 8), 10), f"{name}.safetensors")
    models = ["--model", "a=small-cnn@a.safetensors", "--model", "b=small-cnn@b.safetensors"]
    some = ["--data", "digits", "--limit", "6"]
    found = shell(
        "transfer", "models", *models, *some, "--attack", "FGSM", "--threat", "linf:0.2", "--noise", "0.1", "--out", "t.json"
    )
    assert found["columns"] == ["a", "b"]
    assert json.loads((tmp_path / "t.json").read_text()) == found
    found = shell("transfer", "sources", *models, *some, "--attack", "FGSM", "--attack", "BIM", "--threat", "linf:0.2")
    assert [row["name"] for row in found["rows"]] == ["natural", "FGSM", "BIM"]
    found = shell("transfer", "confidence", *models, *some, "--confidence", "0,1")
    assert len(found["rows"]) == 2
    source = ["--set", "source=small-cnn@b.safetensors", "--model", "small-cnn", "--weights", "a.safetensors"]
    assert shell("attack", "Transfer", *source, *some)["backwards"] == 0
    wrong = CliRunner().invoke(
        app, ["transfer", "models", "--model", "small-cnn@a.safetensors", *some, "--attack", "nothing"]
    )
    assert wrong.exit_code == 2


def test_tables_of_the_page_are_those_of_the_files():
    page = (ROOT / "docs" / "transfer.md").read_text().splitlines()
    lines = substitute_table(json.loads((ROOT / "benchmarks" / "substitute.json").read_text()))
    for name, module in PAPERS.items():
        made, code = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text()), import_module(module)
        lines += published_table(made)
        assert made["published"] == json.loads(json.dumps(code.PUBLISHED.data()))
        assert made["differences"] == list(code.DIFFERENCES)
    missing = [line for line in lines if line not in page]
    assert not missing, "\n".join(missing)


def published_table(made):
    """Rows of Markdown of a table beside the published one: each cell "here (there)"."""
    there = {(row["name"], row["kind"]): row for row in made["published"]["rows"]}
    lines = [f"| | {' | '.join(made['here']['columns'])} | n | RMS |"]
    for row in made["here"]["rows"]:
        theirs = there.get((row["name"], row["kind"]))
        cells = [f"{100 * c['count'] / c['n']:.1f}" for c in row["cells"]]
        size = "" if row["distortion"] is None else f"{row['distortion']:.3f}"
        if theirs is not None:
            cells = [f"{cell} ({p:g})" for cell, p in zip(cells, theirs["percent"], strict=True)]
            size += f" ({theirs['distortion']:g})" if theirs["distortion"] else ""
        name = row["name"] + (f", {row['kind']}" if row["kind"] in ("amplified", "clipped") else "")
        lines.append(f"| {name} | {' | '.join(cells)} | {row['cells'][0]['n']} | {size} |")
    return lines


def substitute_table(made):
    """Rows of Markdown of the misclassified digits by radius."""
    rows = made["rows"]
    radii = list(rows["Jacobian augmentation"]["misclassified"])
    lines = [f"| crafted on | questions | {' | '.join(f'eps {r}' for r in radii)} |"]
    for name, row in rows.items():
        if name != "clean":
            values = row.get("misclassified", row)
            lines.append(f"| {name} | {row.get('queries', '')} | {' | '.join(f'{values[r]:.1f}' for r in radii)} |")
    return lines


def test_a_substitute_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = [
        "substitute",
        "mine.safetensors",
        "--data",
        "digits",
        "--seeds",
        "30",
        "--set",
        "rounds=3",
        "--set",
        "epochs=2",
    ]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["queries"] == 30 + 30 + 60 == sum(entry["asked"] for entry in found["rounds"])
    shown = CliRunner().invoke(app, command, catch_exceptions=False)
    assert f"source={found['source']}" in shown.stdout
    played = ["attack", "Transfer", "--set", f"source={found['source']}", "--data", "digits", "--threat", "linf:0.2"]
    assert CliRunner().invoke(app, [*played, "--limit", "20"], catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(app, ["substitute", "mine.bin", "--data", "digits"]).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--set", "nonsense=1"]).exit_code == 2
