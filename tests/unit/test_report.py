"""The report says what the records say, whatever the names in them, and fits in a megabyte."""

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saddlepoint.auditing import plan
from saddlepoint.data import Arrays
from saddlepoint.evaluation.run import Run
from saddlepoint.report import gallery, page, render, words, write_report
from saddlepoint.report.figures import inline
from saddlepoint.report.pictures import changes, difference, picture, pictured

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
CLASSES = (SCRIPT, IMAGE, "$x_1$ {{ 7 * 7 }}", "\u202eevil\x00")


class NotFinite(nn.Module):
    """A network that answers NaN to half of its inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True) > 0.5
        return torch.where(bright, self.net(x) * float("nan"), self.net(x))


def linear(shape: tuple[int, ...], seed: int = 0, classes: int = 4) -> nn.Module:
    """A classifier with fixed weights."""
    noise = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise))
    return net


def audited(folder: Path, shape: tuple[int, ...], models: dict[str, nn.Module], classes: tuple[str, ...], **more) -> Run:
    """A run on random inputs, labeled so that the first model is right."""
    first = next(iter(models.values()))
    x = np.random.default_rng(0).random((40, *shape), dtype=np.float32)
    with torch.no_grad():
        y = getattr(first, "net", first)(torch.from_numpy(x)).argmax(1).numpy()
    settings = {"threat": "linf:0.1", "limit": 20, "out": folder, "batch": 8, **more}
    seconds = settings.pop("seconds", None)
    return plan(model=models, data=Arrays(IMAGE, x, y, classes), **settings).run(seconds=seconds, report=False)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two models with hostile names, on gray images with hostile class names."""
    models = {SCRIPT: linear((1, 6, 6)), IMAGE: linear((1, 6, 6), seed=1)}
    settings = {"attacks": ["FGSM", "PGD", "APGD", "DeepFool"], "command": f"saddlepoint audit {SCRIPT}"}
    return audited(tmp_path_factory.mktemp("hostile"), (1, 6, 6), models, CLASSES, **settings)


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def section(text: str, name: str) -> str:
    """One section of the page, as its reader sees it: without tags, spaces single."""
    part = text.split(f'<section id="{name}"')[1].split("</section>")[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", part)))


def test_it_is_one_small_file(hostile: Run) -> None:
    path = write_report(hostile)
    assert path == hostile.folder / "report.html"
    assert path.read_bytes() == render(hostile).encode()
    assert path.stat().st_size < 1_000_000
    assert not list(hostile.folder.glob("*.tmp"))


def test_the_same_run_gives_the_same_bytes(hostile: Run) -> None:
    assert render(hostile) == render(Run(hostile.folder))


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(hostile: Run) -> None:
    text = render(hostile)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    parts = dict(part.split(" ", 1) for part in policy.group(1).split("; "))
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        content = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert parts[directive] == f"'sha256-{digest}'"
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'"
    assert parts["img-src"] == "data:"


def test_nothing_is_loaded_from_anywhere(hostile: Run) -> None:
    text = render(hostile)
    assert "http://" not in text
    assert "https://" not in text
    for tag, attributes in Tags(text).found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("src") or "data:").startswith("data:image/png;base64,") or "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")


def test_hostile_names_are_escaped(hostile: Run) -> None:
    text = render(hostile)
    assert SCRIPT not in text
    assert "<img src=x" not in text
    assert html.escape(SCRIPT) in text
    assert "&#34;&gt;&lt;img src=x onerror=alert(1)&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert "\u202e" not in text
    assert "\x00" not in text
    assert [tag for tag, _ in Tags(text).found].count("script") == 1


def test_the_headline_is_the_result(hostile: Run) -> None:
    said, result = section(render(hostile), "verdict"), hostile.result()
    for subject in result["subjects"]:
        high, clean = subject["robust"]["high"], subject["clean"]
        assert subject["verdict"]["valid"]
        assert f"Robust accuracy {high['value']:.1%} 95 % interval [{high['low']:.1%}, {high['high']:.1%}], n = 20" in said
        assert f"Clean accuracy {clean['value']:.1%} 95 % interval [{clean['low']:.1%}, {clean['high']:.1%}], n = 20" in said
        assert subject["verdict"]["sentence"] in said


def test_the_tables_are_the_result(hostile: Run) -> None:
    text, result = render(hostile), hostile.result()
    attacks, evidence, cost = (section(text, name) for name in ("attacks", "evidence", "cost"))
    for subject in result["subjects"]:
        for row in subject["attacks"]:
            shown = attacks if row["role"] in ("main", "curve") else evidence
            if row["role"] not in ("pairs", "rescue", "guided"):
                name = words.label(row["task"], row["role"])
                success, robust = row["success"], row["robust"]
                n = sum(row["outcomes"].values())
                line = f"{name} {words.threat(row['threat'])} {n} {success['value']:.1%} "
                line += f"[{success['low']:.1%}, {success['high']:.1%}] {success['n']} {robust['value']:.1%} "
                assert line in shown
        for check in subject["checks"]:
            assert check["finding"][1:] in evidence
        assert f"{sum(row['forwards'] for row in subject['attacks']):,}" in cost
    assert f"{sum(row['backwards'] for s in result['subjects'] for row in s['attacks']):,}" in cost


def test_the_worst_case_is_counted_per_example(hostile: Run) -> None:
    attacks = section(render(hostile), "attacks")
    for subject in hostile.result()["subjects"]:
        right, standing = subject["clean"]["count"], subject["robust"]["high"]["count"]
        assert re.search(rf"Worst case for every example L∞ ≤ 0\.1 20 {(right - standing) / right:.1%} ", attacks)


def test_the_matrices_are_the_result(hostile: Run) -> None:
    text = section(render(hostile), "pairs")
    for subject in hostile.result()["subjects"]:
        for row in subject["pairs"]["l2"]:
            assert all(f"{value:.2f}" in text for value in row if value is not None)


def test_the_specification_is_whole(hostile: Run) -> None:
    text = html.unescape(render(hostile))
    for wanted in (hostile.spec.digest, hostile.spec.data_digest, *(s.weights for s in hostile.spec.subjects)):
        assert wanted in text
    assert f"saddlepoint audit {SCRIPT}" in text
    assert "@inproceedings{goodfellow2015explaining" in text
    assert str(list(hostile.spec.examples)) in text


def test_pictures_show_what_was_found(hostile: Run) -> None:
    shown = gallery.Gallery(hostile, 30).shown(30, 112)
    assert len(shown["items"]) == 30
    main = [t.name for t in hostile.tasks("main")]
    assert shown["total"] == sum(record["task"] in main for record in hostile.records)
    for item in shown["items"]:
        assert len(item["pictures"]) == (3 if item["outcome"] == "FOUND" else 1)
    assert {item["outcome"] for item in shown["items"]} == {"FOUND", "NOT_FOUND", "ALREADY_WRONG"}
    assert len({item["attack"] for item in shown["items"]}) > 3
    text = section(render(hostile), "gallery")
    assert f"60 of {shown['total']} attacked inputs" in text


def test_the_clean_input_belongs_to_the_example(hostile: Run) -> None:
    for item in gallery.Gallery(hostile, 40).items:
        if item.x_adv is not None:
            assert np.abs(item.x_adv - item.x).max() == pytest.approx(item.record["linf"], abs=1e-6)


def test_no_more_than_a_megabyte(tmp_path: Path) -> None:
    run = audited(tmp_path, (3, 90, 90), {"noise": linear((3, 90, 90))}, ("a", "b", "c", "d"), attacks=["FGSM", "PGD"])
    text = render(run)
    said = re.search(r"(\d+) of (\d+) attacked inputs", section(text, "gallery"))
    assert said
    assert len(text.encode()) < 1_000_000
    assert 0 < int(said.group(1)) < 40 == int(said.group(2))
    assert "shrunk from 90 to at most" in section(text, "gallery")


def test_names_and_specifications_without_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(letter * 100_000 for letter in "abcd")
    run = audited(tmp_path, (5,), {"x" * 1000: linear((5,))}, names, attacks=["FGSM"], command="c" * 1000)
    text = render(run)
    assert len(text.encode()) < 200_000
    assert "a" * 100 not in text
    monkeypatch.setattr(page, "LIMIT", 1000)
    least = render(run)
    assert "no room for any" in least
    assert "The resolved specification has no room" in least


def test_inputs_that_are_no_images(tmp_path: Path) -> None:
    run = audited(tmp_path, (12,), {"vectors": linear((12,))}, CLASSES, threat="l2:0.5", attacks=["FGSM", "PGD", "DDN"])
    text = render(run)
    assert "data:image" not in text.split("<body>")[1]
    assert "Feature Before After Change" in section(text, "gallery")
    assert "L2 ≤ 0.5" in section(text, "verdict")


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    run = audited(tmp_path, (1, 6, 6), {"a": linear((1, 6, 6))}, CLASSES, seconds=0)
    text = render(run)
    assert not run.complete
    assert "This run is not complete" in text
    assert "0 of 14 attacks on models are finished" in text
    assert "Nothing is recorded yet" in section(text, "verdict")
    assert "Nothing has been attacked yet" in section(text, "gallery")
    assert "100.0%" not in section(text, "curve")


def test_a_run_that_was_stopped(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(chunk, done: bool) -> None:
        if chunk.task.name.startswith("PGD") and chunk.start == 8:
            raise Stop

    made = {"models": {"a": linear((1, 6, 6), seed=3)}, "classes": CLASSES}
    x = np.random.default_rng(0).random((40, 1, 6, 6), dtype=np.float32)
    y = made["models"]["a"](torch.from_numpy(x)).argmax(1).numpy()
    work = plan(model=made["models"], data=Arrays("d", x, y), threat="linf:0.02", limit=20, batch=8, out=tmp_path)
    with pytest.raises(Stop):
        work.run(on_chunk=stop)
    run = Run(tmp_path)
    robust = run.result()["subjects"][0]["robust"]
    said = section(render(run), "verdict")
    assert robust["undecided"] > 0
    assert f"{robust['low']['value']:.1%} to {robust['high']['value']:.1%}" in said
    assert f"Trusted, {robust['undecided']} undecided" in said
    assert "16 of 20 unfinished" in section(render(run), "attacks")


def test_invalid_evidence_is_no_robust_accuracy(tmp_path: Path) -> None:
    run = audited(tmp_path, (1, 6, 6), {"nan": NotFinite(linear((1, 6, 6)))}, CLASSES, attacks=["FGSM", "PGD"])
    verdict = run.result()["subjects"][0]["verdict"]
    text = render(run)
    assert not verdict["valid"]
    assert verdict["sentence"] in section(text, "verdict")
    assert "✗ Not trusted No robust accuracy no number" in section(text, "verdict")
    assert "%" not in section(text, "verdict")
    seen = re.findall(r"(\w+ )?robust accuracy", html.unescape(text), re.IGNORECASE)
    assert {s.lower().strip() for s in seen} == {"no"}


def test_many_classes_have_no_matrices(tmp_path: Path) -> None:
    names = tuple(str(i) for i in range(30))
    run = audited(tmp_path, (6,), {"a": linear((6,), classes=30)}, names, threat="linf:8/255", attacks=["PGD"])
    text = render(run)
    assert "There are 30 classes, and the matrices are made for at most 20" in section(text, "pairs")
    assert "L∞ ≤ 8/255" in section(text, "verdict")
    sentence = "saddlepoint.audit(model=..., data='\"><img src=x onerror=alert(1)>', threat='linf:0.0313725', preset='quick'"
    assert sentence in html.unescape(text)
    assert "attacks=[saddlepoint.attacks.PGD(" in text


def test_missing_shards_leave_the_numbers(tmp_path: Path) -> None:
    run = audited(tmp_path, (1, 6, 6), {"a": linear((1, 6, 6))}, CLASSES, attacks=["FGSM"])
    for shard in (run.folder / "adv").iterdir():
        shard.unlink()
    text = render(run)
    assert "The inputs of 20 could not be read" in section(text, "gallery")
    assert "Robust accuracy" in section(text, "verdict")


def test_pictures() -> None:
    x = np.zeros((3, 8, 4), dtype=np.float32)
    x_adv = x.copy()
    x_adv[0, 0, 0] = 0.03
    assert pictured(x)
    assert not pictured(x[:2])
    assert not pictured(x[0])
    assert picture(x, 0, 1, 8).startswith("data:image/png;base64,")
    assert difference(x, x_adv, 0, 1, 8)[1] == "10"
    assert difference(x, x, 0, 1, 8)[1] == "1000"
    assert [c["feature"] for c in changes(x, x_adv)] == ["0, 0, 0"]


def test_figures_have_no_style_of_their_own() -> None:
    drawn = "<style>x</style><g style=\"font: 9px 'A'; fill: #5e0100\"/>"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="1">{drawn}</svg>'
    assert inline(svg.encode(), '"') == '<svg role="img" aria-label="&quot;"><g font-size="9px" fill="var(--ink)" /></svg>'


@pytest.mark.parametrize(
    ("text", "formula"), [("linf:0.2", "L∞ ≤ 0.2"), ("linf:8/255", "L∞ ≤ 8/255"), ("l0:5", "L0 ≤ 5"), ("l2:0.5", "L2 ≤ 0.5")]
)
def test_threats_as_formulas(text: str, formula: str) -> None:
    assert words.threat(text) == formula


def test_names() -> None:
    assert words.name("a" * 70) == "a" * 59 + "…"
    assert words.name("a\u202e\nb\ud800") == "a� b�"
