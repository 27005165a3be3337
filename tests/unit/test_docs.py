"""What the documentation says is so: code runs, commands parse, links lead somewhere, made pages are fresh."""

import importlib.util
import json
import re
import runpy
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from saddlepoint.cli.app import app
from saddlepoint.core.registry import registry
from saddlepoint.testing import Law, laws

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
ATTACKS = sorted(page for page in (DOCS / "attacks").glob("*.md") if page.stem != "index")
DEFENSES = sorted((DOCS / "defenses").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FENCE = re.compile(
    r"(?P<skip><!-- test: skip, because [^>]+ -->\n)?^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch")


def loaded(path: Path) -> Any:
    """A file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, language: str) -> Iterator[tuple[str, str, bool]]:
    """Title, code and whether to run it, of every block in a language."""
    for fence in FENCE.finditer(page.read_text()):
        words = fence["info"].split(maxsplit=1)
        if words and words[0] == language:
            title = re.search(r'title="([^"]+)"', fence["info"])
            yield title[1] if title else "", textwrap.dedent(fence["code"]), not fence["skip"]


def run_blocks(page: Path) -> dict[str, Any]:
    """Run the Python of a page, block after block, in one namespace; files shown in it have tests of their own."""
    names: dict[str, Any] = {"__name__": page.stem}
    for title, code, wanted in blocks(page, "python"):
        if title == "examples/my_attack.py" or (wanted and not title.startswith(("examples/", "src/"))):
            exec(compile(code, f"{page.name}: {code[:40]!r}", "exec", dont_inherit=True), names)
    return names


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all pages, so that the network of their examples is trained once."""
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(autouse=True)
def _there(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SADDLEPOINT_DIR", str(workplace))
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


@pytest.mark.parametrize("page", [*PAGES, *DEFENSES], ids=lambda page: page.name)
def test_code_of_pages_runs(page: Path) -> None:
    if not any(wanted for _, _, wanted in blocks(page, "python")):
        pytest.skip("no Python to run")
    run_blocks(page)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_end_with_a_number(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.match(r'"""[^\n]+\n', path.read_text())
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(r"\d", capsys.readouterr().out.strip().splitlines()[-1])


@pytest.mark.parametrize("page", ATTACKS, ids=lambda page: page.stem)
def test_attack_pages_say_the_same_in_python_and_in_the_shell(page: Path) -> None:
    result = run_blocks(page)["result"]
    ((_, command, _),) = blocks(page, "sh")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["saddlepoint", "attack", page.stem]
    done = CliRunner().invoke(app, [*words[1:], "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["n"] == len(result)
    assert found["success_rate"]["count"] == result.success_rate.count
    assert (found["forwards"], found["backwards"]) == (result.forwards, result.backwards)


@pytest.mark.parametrize("page", [*PAGES, *DEFENSES], ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    commands = typer.main.get_command(app)
    for _, code, _ in [*blocks(page, "sh"), *blocks(page, "")]:
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["saddlepoint"]:
                name, *arguments = words[1:]
                commands.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]  # a group


def test_made_pages_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)  # as when it is run as a script
    make_pages = loaded(DOCS / "make_pages.py")
    out_of_date = [str(path.relative_to(ROOT)) for path in make_pages.stale()]
    assert not out_of_date, f"run python docs/make_pages.py: {', '.join(out_of_date)}"


def test_every_attack_has_a_page() -> None:
    built_in = {name for name, cls in registry("attack").classes.items() if cls.__module__.startswith("saddlepoint.")}
    assert {page.stem for page in ATTACKS} == built_in
    choosing = (DOCS / "choosing.md").read_text()
    assert all(f"attacks/{name}.md" in choosing for name in built_in)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *ATTACKS, *DEFENSES, DOCS / "attacks" / "index.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def test_navigation_names_every_page() -> None:
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert named == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


LAWS = laws(loaded(ROOT / "examples" / "my_attack.py").MyMomentum())


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws_hold_for_the_attack_that_the_page_shows(law: Law) -> None:
    law()


def test_result_json_is_documented_field_by_field() -> None:
    page = DOCS / "audit.md"
    result = run_blocks(page)["result"]
    text = page.read_text()

    def keys(data: Any) -> Iterator[str]:
        if isinstance(data, dict):
            for key, value in data.items():
                yield key
                if key not in ("attack", "outcomes", "training"):  # settings and outcomes, documented elsewhere
                    yield from keys(value)
        elif isinstance(data, list):
            for value in data:
                yield from keys(value)

    missing = sorted({key for key in keys(result) if f"`{key}`" not in text})
    assert not missing, f"not in docs/audit.md: {', '.join(missing)}"
    checks = {check["name"] for subject in result["subjects"] for check in subject["checks"]}
    trust = (DOCS / "trust.md").read_text()
    assert all(f"| {name} |" in trust for name in checks), checks
    names = Path("runs/first/records.csv").read_text().splitlines()[0].split(",")
    assert all(f"`{name}`" in text for name in names), names
