# ruff: noqa: E501
"""Records and files: text and back, stable digests, names, weights, plug-ins, papers."""

import json
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError, fields
from typing import ClassVar

import jaxtyping
import pytest
import torch
from torch import nn

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.core import registry as rooms
from saddlepoint.core.attack import Attack, Seeks
from saddlepoint.core.config import digest, from_config, from_json, from_toml, record, to_config, to_json, to_toml
from saddlepoint.core.errors import ConfigError, SaddlepointError, UnknownName
from saddlepoint.core.model import Access
from saddlepoint.core.paper import Paper, cite, papers
from saddlepoint.core.registry import Registry, did_you_mean, registry
from saddlepoint.evaluation.spec import Spec
from saddlepoint.models.train import load_weights
from saddlepoint.threats import L0, L1, L2, Color, Flow, Linf, Spatial, Tabular


@pytest.fixture(autouse=True)
def unchecked():
    """Users run without the type checker of these tests; what it would refuse must be refused without it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


ATTACKS = registry("attack").classes
NESTED = a.Restarts(
    attack=a.Cascade(attacks=(a.PGD(steps=3, step_size="2/255"), a.Restarts(attack=a.FGSM(loss="dlr"), restarts=2))),
    restarts=4,
)
VARIED = [
    a.FGSM(loss="margin"),
    a.BIM(steps=7, step_size=0.5),
    a.PGD(steps=1, step_size=1 / 3, random_start=False, loss="cross_entropy"),
    a.MIFGSM(decay=0.0, kernel=5),
    a.NIFGSM(steps=2, step_size="1/255"),
    a.SIFGSM(scales=3, look_ahead=True),
    a.DIFGSM(diversity=0.7, shrink=0.8),
    a.TIFGSM(kernel=15),
    a.APGD(steps=5, loss="dlr", targets=3, rho=0.1),
    a.DDN(steps=9, gamma=0.3, first_radius=1e-7, levels=256),
    a.DeepFool(steps=2, candidates=2, overshoot=0.0),
    a.CarliniWagner(steps=3, searches=9, confidence=2.5, objective="f3", abort_early=False, start=a.DDN(steps=2)),
    a.JSMA(theta=-0.5, max_distortion=1.0, features=1, others="sum", output="probabilities", weighted=False, reuse=1),
    a.Square(steps=1, first_share=1.0, rescale=True),
    a.OnePixel(population=4, generations=1, weight=1.5),
    a.HopSkipJump(steps=1, gamma=1e6),
    a.Perturbation(file="one.safetensors", sha256="ab"),
    a.Cascade(attacks=(a.FGSM(), a.Cascade(attacks=(a.Square(),)))),
    NESTED,
]
THREATS = [cls(eps) for cls in (Linf, L2, L1, L0) for eps in (0, 1, 17.0, math.inf)] + [Linf("8/255"), L2(1e-9), L1(0.1)]
THREATS += [Spatial(), Spatial(10, 0, fill=0.5), Flow(2.5), Flow(1, 3), Color(), Color(0, 0, 180, 0.1)]
THREATS += [Tabular(0.1), Tabular(2, "l1", 3, [("age", 18, 99, "up", True, 10), ("income",)]), Tabular(math.inf, "l0")]
ALL = [("attack", cls()) for cls in ATTACKS.values()] + [("attack", v) for v in VARIED] + [("threat", t) for t in THREATS]
every = pytest.mark.parametrize(("kind", "value"), ALL, ids=[repr(v)[:60] for _, v in ALL])


def test_the_list_above_has_every_threat():
    assert {type(t) for t in THREATS} == set(registry("threat").classes.values())


@every
def test_repr_makes_it_again(kind, value):
    names = {**ATTACKS, **registry("threat").classes, "inf": math.inf}
    assert eval(repr(value), names) == value


@every
def test_toml_and_back(kind, value):
    again = from_toml(to_toml(value), kind)
    assert again == value
    assert type(again) is type(value)
    assert digest(again) == digest(value)


@every
def test_json_and_back(kind, value):
    again = from_json(to_json(value), kind)
    assert again == value
    assert from_json(json.dumps(to_config(value), indent=4), kind) == value
    assert hash(again) == hash(value)


@pytest.mark.parametrize(
    "value",
    [a.CarliniWagner(start=None), a.Cascade(attacks=(a.CarliniWagner(start=None),)), a.PGD(step_size=None)],
    ids=["not its default", "nested", "its default"],
)
def test_none_is_kept(value):
    assert from_json(to_json(value), "attack") == value
    assert from_toml(to_toml(value), "attack") == value


def test_digests_tell_records_apart():
    found = [digest(v) for _, v in ALL] + [digest(a.PGD(steps=41)), digest(a.CarliniWagner(start=None))]
    assert len(set(found)) == len({(type(v).__name__, repr(v)) for _, v in ALL}) + 2
    assert digest(Linf("8/255")) == digest(Linf(8 / 255))
    assert digest(a.PGD(steps=3)) == digest(a.PGD(steps=3.0)) == digest(from_config({"steps": 3, "name": "pgd"}, "attack"))


def test_digests_are_the_same_in_every_process():
    code = (
        "from saddlepoint import attacks as a; from saddlepoint.core.config import digest; from saddlepoint.threats import L2;"
        "print(*(digest(v) for v in (a.Cascade(), a.CarliniWagner(), a.Restarts(attack=a.FGSM()), L2(0.1))))"
    )
    seen = set()
    for seed in ("1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(subprocess.check_output([sys.executable, "-c", code], text=True, env=environment, timeout=120))
    here = [digest(v) for v in (a.Cascade(), a.CarliniWagner(), a.Restarts(attack=a.FGSM()), L2(0.1))]
    assert seen == {" ".join(here) + "\n"}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_misspelled_field_is_recognized(name):
    field = fields(ATTACKS[name])[0].name
    with pytest.raises(ConfigError) as refused:
        ATTACKS[name](**{field + "s": 1})
    assert f"{name} has no field '{field}s'. Did you mean '{field}'?" in str(refused.value)
    with pytest.raises(ConfigError, match=rf"Did you mean '{field}'"):
        from_toml(f'name = "{name}"\n{field}s = 1', "attack")


def test_a_field_like_no_other_lists_the_fields():
    with pytest.raises(
        ConfigError, match=r"^PGD has no field 'qqq'\. Its fields: steps, step_size, random_start, loss, confidence\.$"
    ):
        a.PGD(qqq=1)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("PDG", "PGD"), ("deepfol", "DeepFool"), ("hop_skip_jump", "HopSkipJump"), ("CarliniWagne", "Carlini")],
)
def test_a_misspelled_name_is_recognized(name, nearest):
    with pytest.raises(UnknownName, match=f"There is no attack named '{name}'. Did you mean '{nearest}"):
        from_config(name, "attack")


def test_names_are_found_in_any_case():
    assert from_config("pgd", "attack") == a.PGD()
    assert from_config({"name": "Restarts", "attack": "FGSM"}, "attack") == a.Restarts(attack=a.FGSM())
    assert from_config({"name": "LINF", "eps": "8/255"}, "threat") == Linf(8 / 255)


def test_did_you_mean_says_nothing_when_nothing_is_near():
    assert did_you_mean("zzzz", ["PGD", "FGSM"]) == ""
    assert did_you_mean("anything", []) == ""


@pytest.mark.parametrize("value", [a.PGD(), Linf(0.1), a.Cascade()])
def test_records_are_frozen_and_hashable(value):
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, 5)
    assert len({value, type(value)(**{f.name: getattr(value, f.name) for f in fields(value)})}) == 1


@pytest.mark.parametrize(
    ("text", "eps"), [("8/255", 8 / 255), ("0.5", 0.5), ("1e-3", 1e-3), ("inf", math.inf), (" 2 ", 2.0)]
)
def test_radii_are_read_from_text(text, eps):
    assert Linf(text).eps == eps


# -- what is refused ---------------------------------------------------------------------------------------------------


def refused(act, pattern):
    """One sentence for what came and one for what to do, on one short line."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        act()
    error = caught.value
    if not isinstance(error, SaddlepointError):
        raise AssertionError(f"a bare {type(error).__name__}: {error}") from error
    assert re.search(pattern, str(error)), error
    assert "\n" not in str(error)
    assert len(str(error)) <= 400, error
    assert re.search(r"\b(should|must) [a-z]+|[.?)] [A-Z`.]", str(error)), f"no remedy: {error}"


NAN, INF = math.nan, math.inf
# fmt: off
RECORDS = [
    *((f"{cls.__name__} {k}={v!r}", lambda cls=cls, k=k, v=v: cls(**{k: v}), rf"{cls.__name__}\.{k} .*got {re.escape(repr(v))}")
      for cls, k, v in [
          (a.PGD, "steps", 0), (a.PGD, "steps", -3), (a.PGD, "steps", 1.5), (a.PGD, "steps", "x"), (a.PGD, "steps", None),
          (a.PGD, "step_size", 0), (a.PGD, "step_size", NAN), (a.PGD, "step_size", INF), (a.PGD, "loss", "ce"),
          (a.PGD, "random_start", "maybe"), (a.APGD, "rho", 0), (a.APGD, "targets", 0), (a.BIM, "steps", 0), (a.DDN, "gamma", 2),
          (a.DDN, "levels", 1), (a.DeepFool, "candidates", 1), (a.DeepFool, "overshoot", -0.1), (a.DeepFool, "overshoot", NAN),
          (a.DeepFool, "overshoot", INF), (a.CarliniWagner, "objective", "f9"), (a.CarliniWagner, "confidence", -1),
          (a.CarliniWagner, "confidence", NAN), (a.CarliniWagner, "confidence", INF), (a.CarliniWagner, "start", "DDN"),
          (a.JSMA, "theta", 2), (a.JSMA, "theta", 0), (a.JSMA, "max_distortion", 0), (a.Square, "first_share", 0),
          (a.Square, "first_share", NAN), (a.OnePixel, "population", 3), (a.HopSkipJump, "gamma", 0), (a.Restarts, "restarts", 0),
          (a.Restarts, "attack", 5), (a.Restarts, "attack", a.PGD), (a.Cascade, "attacks", ()), (a.Cascade, "attacks", 5),
      ]),
    ("by position", lambda: a.PGD(10), r"(?i)PGD.*(by name|keyword|steps=)"),
    ("Cascade of text", lambda: a.Cascade(attacks=["PGD"]), r"Cascade\.attacks .*got 'PGD'"),
    ("unknown field", lambda: a.PGD(step=10), r"PGD has no field 'step'\. Did you mean 'steps'"),
    ("a field that is not one", lambda: a.PGD(acess=1), r"PGD has no field 'acess'\. Its fields: steps, "),
]
TEXTS = [
    *((f"config {d!r:.12}", lambda d=d: from_config(d, "attack"), p) for d, p in [
        (5, r"got 5"), (None, r"got None"), ([], r"got \[\]"), ({"steps": 3}, r"'name'.*\{'steps': 3\}"), ({"name": "PDG"}, r"Did you mean 'PGD'"),
        ({"name": 5}, r"named 5"), ({"name": None}, r"named None"), ({"name": "PGD", "stpes": 1}, r"Did you mean 'steps'"), ([0] * 999, r"got \[0, 0"),
        ({"name": "Restarts", "attack": {"name": "PDG"}}, r"Did you mean 'PGD'"), ({"name": "PGD", 5: 1}, r"5"), ("A" * 999, r"AAA")]),
    ("toml", lambda: from_toml("name = ", "attack"), r"not valid TOML: Invalid value"),
    ("toml: not a record", lambda: from_toml("x = 1", "attack"), r"\{'x': 1\}"),
    ("toml: no text", lambda: from_toml(None, "attack"), r"None"),
    ("json", lambda: from_json("{", "attack"), r"not valid JSON: .*line 1"),
    ("json: deep", lambda: from_json("[" * 100_000, "attack"), r"not valid JSON"),
    ("a specification", lambda: Spec.from_json("{}"), r"not the specification of a run"),
]
# fmt: on


@pytest.mark.parametrize(
    ("make", "pattern"), [pytest.param(make, pattern, id=name) for name, make, pattern in RECORDS + TEXTS]
)
def test_one_sentence(make, pattern):
    refused(make, pattern)


# -- weights are read, and never executed ------------------------------------------------------------------------------


def linear(classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, classes))


def scripted(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(linear(), torch.ones(1, 4)).save(str(path))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


FILES = {
    "missing": (lambda p: None, r"no file"),
    "empty": (lambda p: p.write_bytes(b""), r"not a file of plain weights"),
    "garbage": (lambda p: p.write_bytes(os.urandom(500)), r"not a file of plain weights"),
    "a folder": (lambda p: p.mkdir(), r"not a file of plain weights"),
    "a module": (lambda p: torch.save(linear(), p), r"not a file of plain weights.*pickled modules are code"),
    "evil pickle": (lambda p: p.write_bytes(pickle.dumps(Evil(p.with_suffix(".ran")))), r"not a file of plain weights"),
    "evil value": (lambda p: torch.save({"1.bias": Evil(p.with_suffix(".ran"))}, p), r"not a file of plain weights"),
    "a script": (lambda p: scripted(p), r"not a file of plain weights"),
    "a list": (lambda p: torch.save([1, 2], p), r"not a file of plain weights|do not fit"),
    "a number inside": (lambda p: torch.save({"state_dict": 5}, p), r"not a file of plain weights|do not fit"),
    "numbers for tensors": (lambda p: torch.save({"1.weight": 5, "1.bias": 5}, p), r"do not fit Sequential"),
    "other names": (lambda p: torch.save({"fc.weight": torch.ones(2)}, p), r"do not fit Sequential: .*1\.weight"),
    "other shapes": (lambda p: torch.save(linear(5).state_dict(), p), r"do not fit Sequential: .*size mismatch"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_files_of_weights(kind, suffix, tmp_path):
    make, pattern = FILES[kind]
    path = tmp_path / f"weights{suffix}"
    make(path)
    net = linear()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    refused(lambda: load_weights(net, path), pattern if suffix == ".pt" else r"no file|not a file of plain weights")
    assert not path.with_suffix(".ran").exists()
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


# -- plug-ins ----------------------------------------------------------------------------------------------------------


class Point:
    """An entry point as importlib.metadata has them."""

    def __init__(self, name, value):
        self.name, self.value = name, f"plug_in:{name}"
        self._value = value

    def load(self):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


@pytest.fixture
def plug_in(monkeypatch):
    """Install things as plug-ins for attacks; the registry is made anew before and after."""

    def install(*points):
        monkeypatch.setattr(rooms, "entry_points", lambda group: points if group == "saddlepoint.attack" else ())
        registry.cache_clear()

    yield install
    monkeypatch.undo()
    registry.cache_clear()


@record
class Nudge(Attack):
    """A stranger's attack."""

    access: ClassVar = Access.SCORES
    seeks: ClassVar = Seeks.BUDGET
    paper: ClassVar = Paper(key="k", title="t", authors="n", year=2020, venue="v")
    tries: int = 3

    def passes(self, features, classes):
        return self.tries, 0

    def run(self, game):
        yield from ()


def test_a_plug_in_is_an_attack_like_any_other(plug_in):
    plug_in(Point("Nudge", Nudge))
    assert registry("attack").get("nudge") is Nudge
    assert "Nudge" in registry("attack").names()
    assert a.Nudge is Nudge
    assert "Nudge" in dir(a)
    value = a.Restarts(attack=Nudge(tries=9), restarts=2)
    assert from_toml(to_toml(value), "attack") == value
    with pytest.raises(UnknownName, match="Did you mean 'Nudge'"):
        from_config("Nugde", "attack")


def test_without_it_there_is_none(plug_in):
    plug_in()
    assert "Nudge" not in registry("attack").classes
    with pytest.raises(AttributeError, match=r"has no attribute 'Nudge'; it has .*PGD"):
        _ = a.Nudge


def test_a_class_can_be_registered_by_hand(plug_in):
    plug_in()
    assert registry("attack").add(Nudge) is Nudge
    assert from_config({"name": "Nudge", "tries": 1}, "attack") == Nudge(tries=1)


@pytest.mark.parametrize("value", [ImportError("no module named foo"), int, 5, "text"], ids=str)
def test_a_broken_plug_in_is_named(plug_in, value):
    plug_in(Point("Nudge", value))
    with pytest.raises(SaddlepointError, match="Nudge"):
        registry("attack")


def test_abstract_and_private_classes_are_not_listed():
    for kind in ("attack", "threat", "goal"):
        found = Registry(kind, *rooms.ROOMS[kind])
        assert not any(name.startswith("_") or name in ("Attack", "Threat", "Ball", "Goal") for name in found.names())
    assert registry("goal").names() == ["LeastLikely", "ReduceConfidence", "SourceTarget", "Targeted", "Untargeted"]


# -- papers ------------------------------------------------------------------------------------------------------------


def test_every_paper_is_cited_once():
    text = cite(*(cls() for cls in ATTACKS.values()), NESTED)
    keys = [line.partition("{")[2].rstrip(",") for line in text.splitlines() if line.startswith("@")]
    assert len(keys) == len(set(keys))
    assert set(keys) == {p.key for cls in ATTACKS.values() for p in papers(cls())}


def test_parts_are_cited_too():
    assert [p.key for p in papers(a.CarliniWagner())] == ["carlini2017towards", "rony2019decoupling"]
    assert [p.key for p in papers(a.CarliniWagner(start=None))] == ["carlini2017towards"]
    assert [p.key for p in papers(a.Restarts(attack=a.Cascade()))] == [
        a.PGD.paper.key, a.APGD.paper.key, a.Square.paper.key,
    ]  # fmt: skip
    assert cite(a.Restarts(), a.PGD()) == cite(a.PGD()) == a.PGD.paper.bibtex
    assert cite() == cite(Linf(0.1)) == ""


@pytest.mark.parametrize("name", ATTACKS)
def test_a_citation_is_whole(name):
    paper = ATTACKS[name].paper
    assert paper.bibtex.startswith(f"@inproceedings{{{paper.key},\n")
    assert paper.bibtex.count("{") == paper.bibtex.count("}")
    assert all(str(v) in paper.bibtex for v in (paper.title, paper.authors, paper.year, paper.venue, paper.arxiv))
    assert str(paper.year) in str(paper)


def test_the_front_room_has_what_it_lists():
    assert all(getattr(sp, name) is not None for name in sp.__all__)
    assert dir(sp) == sorted(sp.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Attac'"):
        _ = sp.Attac
