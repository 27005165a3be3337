"""Write what the documentation knows from the code: the attacks' pages, their table, the navigation, the examples.

python docs/make_pages.py           # write
python docs/make_pages.py --check   # exit with 1 if a page is not what the code and the measured figures say

A part between `<!-- made: NAME -->` and `<!-- end made -->` is replaced; in mkdocs.yml the marks are comments of YAML.
Pages in docs/attacks and docs/defenses are made whole. No number is typed in: those beside the public libraries come from
tests/reference, those of audits from benchmarks/trust.json.
"""

import inspect
import json
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import costs
from comparisons import beside_scipy, built_in, call, equal_queries, results

import saddlepoint as sp
from saddlepoint.bench import CASES
from saddlepoint.bench.cases import GROUPS
from saddlepoint.bench.picture import file_name
from saddlepoint.bench.table import markdown
from saddlepoint.cli.work import attack_row
from saddlepoint.core.attack import Attack, Seeks
from saddlepoint.core.config import to_config
from saddlepoint.defenses.gallery import GALLERY, MASKING
from saddlepoint.evaluation.presets import PRESETS, main_attacks

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RADII = {"Linf": "linf:0.1", "L2": "l2:1", "L1": "l1:4", "L0": "l0:3"}

# Settings of the examples, where the default takes longer than an example should. Any other attack is shown as it comes.
BRISK: dict[str, dict[str, Any]] = {
    "APGD": {"steps": 50},
    "Bandits": {"steps": 200},
    "Boundary": {"steps": 100},
    "Cascade": {"attacks": [{"name": "APGD", "steps": 20}, {"name": "Square", "steps": 100}]},
    "CarliniWagner": {"searches": 3},
    "EachClass": {"attack": {"name": "PGD", "steps": 10}, "classes": 5},
    "GridSearch": {"points": [13, 3, 3]},
    "HopSkipJump": {"steps": 3},
    "LabelNES": {"steps": 10, "samples": 10, "votes": 2},
    "LocalSearch": {"rounds": 20},
    "NES": {"steps": 20},
    "OnePixel": {"population": 50, "generations": 10},
    "PartialNES": {"steps": 20, "samples": 20},
    "Pointwise": {"restarts": 2},
    "RayS": {"steps": 500},
    "Restarts": {"attack": {"name": "PGD", "steps": 20}, "restarts": 3},
    "SPSA": {"steps": 10},
    "SaltAndPepper": {"steps": 200},
    "SignOPT": {"steps": 3, "evaluations": 100},
    "SimBA": {"steps": 300},
    "SparseRS": {"steps": 200},
    "Square": {"steps": 200},
    "SurFree": {"steps": 100},
    "Transfer": {"source": "small-cnn@source.safetensors"},
    "ZOO": {"searches": 2},
}
# What an example has to do first.
BEFORE = {
    "Transfer": """from saddlepoint.models.train import save_weights

mine, _ = trained(sp.Trainer(epochs=8, seed=1), load("digits", "train"), torch.device("cpu"))
save_weights(mine.net, "source.safetensors")
""",
    "Perturbation": """lessons = load("digits", "train").batch(range(200))
sp.fit(model, *lessons, "linf:0.1", "UniversalPGD").save("perturbation.safetensors")
""",
}
EXAMPLES = 20
MADE = ("attacks", "defenses")  # folders of pages that are made whole
BEYOND_BALLS = {"GridSearch": "spatial:30,3", "StAdv": "flow:1"}  # where attacks that search no ball are shown


def threat_of(cls: type[Attack]) -> str:
    """The threat of an attack's example: a ball, or a norm alone where the smallest change is sought."""
    if cls.__name__ in BEYOND_BALLS:
        return BEYOND_BALLS[cls.__name__]
    attack = cls()
    kind = next((name for name in RADII if name in {t.__name__ for t in attack.threats}), "Linf")
    return kind.lower() if attack.seeks is Seeks.MINIMUM else RADII[kind]


def docstring(cls: type) -> tuple[str, str, dict[str, str], str]:
    """First sentence, the rest up to the attributes, the attributes, and the deviations of a docstring."""
    parts = re.split(r"\n\n+", inspect.cleandoc(cls.__doc__ or ""))
    first, rest, attributes, deviations = parts[0], [], {}, ""
    for part in parts[1:]:
        if part.startswith("Attributes:"):
            entries = re.split(r"\n    (?=\w+: )", "\n" + part.partition("\n")[2])[1:]
            attributes = dict(re.sub(r"\s+", " ", entry).strip().split(": ", 1) for entry in entries)
        elif part.startswith("Deviations:"):
            deviations = part.removeprefix("Deviations:").strip()
            deviations = deviations[:1].upper() + deviations[1:]
        else:
            rest.append(part)
    return re.sub(r"\s+", " ", first), "\n\n".join(rest), attributes, deviations


def source(cls: type) -> str:
    """The path of the file that defines a class."""
    return "src/" + cls.__module__.replace(".", "/") + ".py"


# -- pages ----------------------------------------------------------------------------------------------------------


def page(cls: type[Attack]) -> str:
    """The page of one attack."""
    name, row, attack = cls.__name__, attack_row(cls), cls()
    first, rest, attributes, deviations = docstring(cls)
    defaults = to_config(attack)
    listed = [
        f"- `{f.name}` = `{call(defaults[f.name], '')}`: {attributes.get(f.name, '')}".rstrip(": ")
        for f in fields(cls)  # type: ignore[arg-type]  # attacks are records
    ]
    path = f"{cls.__module__}.{name}"
    parts = [
        f"<!-- Made by docs/make_pages.py from {source(cls)}: edit the docstring there. -->",
        f"# {name}",
        first,
        f"| needs | seeks | threats | goals | passes an example, at most |\n|---|---|---|---|---|\n"
        f"| {row['access']} | {row['seeks']} | {row['threats']} | {row['goals']} | {row['passes']} |",
        "Passes are forward (f) and backward (b), with the default settings on 28 x 28 images of ten classes.",
        f"## When to use it\n\n{rest}" if rest else "",
        example(cls),
        "## Settings\n\n" + ("\n".join(listed) if listed else "None."),
        f"## Deviations from the paper\n\n{deviations}" if deviations else "",
        results(name),
        beside_scipy() if name == "LBFGS" else "",
        equal_queries(name),
        f"## Paper\n\n{attack.paper}" + (f" arXiv: {attack.paper.arxiv}." if attack.paper.arxiv else ""),
        f"```bibtex\n{sp.cite(attack)}\n```",
        f"## Source\n\nThe whole attack is `{source(cls)}`.",
        f"::: {path}\n    options:\n      show_source: true\n      members: false\n      show_docstring_attributes: false\n"
        "      show_docstring_description: false\n      show_bases: false",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def example(cls: type[Attack]) -> str:
    """The same attack from Python and from the shell."""
    name, threat, settings = cls.__name__, threat_of(cls), BRISK.get(cls.__name__, {})
    words = [f"--set {shlex.quote(f'{k}={v if isinstance(v, str) else json.dumps(v)}')}" for k, v in settings.items()]
    sets = "".join(f" \\\n    {word}" if len(" ".join(words)) > 30 else f" {word}" for word in words)
    return f"""## Use it

```python
import torch

import saddlepoint as sp
from saddlepoint.subjects import trained
from saddlepoint.data import load, picked

model, _ = trained(sp.Trainer(epochs=8), load("digits", "train"), torch.device("cpu"))
ids = picked(load("digits"), {EXAMPLES})
x, y = load("digits").batch(ids)

{BEFORE.get(name, "")}method = {call({"name": name} | settings)}
result = sp.attack(model, x, y, "{threat}", method, ids=ids)
print(result)
```

The same from the shell, with the same numbers:

```sh
saddlepoint attack {name} --data digits --threat {threat} --limit {EXAMPLES}{sets}
```"""


def all_attacks(folder: str) -> str:
    """The table of all attacks: those that see most first."""
    order = {access.name.lower(): -access for access in sp.Access}
    rows = sorted((attack_row(cls) for cls in built_in().values()), key=lambda r: (order[r["access"]], r["seeks"]))
    lines = ["| attack | needs | seeks | threats | passes | paper |", "|---|---|---|---|---|---|"]
    for row in rows:
        link = f"[{row['name']}]({folder}{row['name']}.md)"
        lines.append(f"| {link} | {row['access']} | {row['seeks']} | {row['threats']} | {row['passes']} | {row['paper']} |")
    return "\n".join(lines)


def presets() -> str:
    """The main attacks of each preset on a network of ten classes, by norm."""
    lines = ["| norm | " + " | ".join(f"`{name}`" for name in PRESETS) + " |", "|---|" + "---|" * len(PRESETS)]
    for kind in RADII:
        chosen = [main_attacks(kind.lower(), rank, 10) for rank in range(len(PRESETS))]
        cells = ["<br>".join(f"`{call(to_config(attack), '')}`" for attack in attacks) for attacks in chosen]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def universal() -> str:
    """Universal perturbations beside the public library's."""
    report = json.loads((ROOT / "benchmarks" / "universal.json").read_text())
    versions = report["versions"]
    lines = [
        f"| radius | method | fooled, of the {report['n']} learned on | fooled, of {report['n_others']} others "
        "| forwards an input | CPU time of ART over ours |",
        "|---|---|---|---|---|---|",
    ]
    for radius, row in report["rows"].items():
        for name, found in row.items():
            library = f"{name} {versions['adversarial-robustness-toolbox']}" if name.startswith("ART") else f"**{name}**"
            times = f"{found['times_faster']:.0f}" if "times_faster" in found else ""
            rates = f"{found['fooled']:.1%} | {found['fooled_others']:.1%}"
            lines.append(f"| {radius} | {library} | {rates} | {found['forwards']:.0f} | {times} |")
    return "\n".join([*lines, "", f"Made by `{report['command']}` (torch {versions['torch']}); times are one machine's."])


def benchmark() -> str:
    """All cases of the benchmark, group by group, with a picture of what was measured."""
    path = ROOT / "benchmarks" / "bench.json"
    entries = json.loads(path.read_text())["cases"] if path.exists() else {}
    parts = []
    for group in GROUPS:
        cases = [case for case in CASES.values() if case.group == group]
        parts.append(f"## {group[:1].upper()}{group[1:]}")
        if any(case.name in entries for case in cases):
            parts.append(f"![CPU time against strength: {group}](pictures/{file_name(group)})")
        parts += [markdown(case, entries.get(case.name)) for case in cases]
    if entries:
        machines = dict.fromkeys(f"{e['machine']['cpu']}, {e['machine']['threads']} thread" for e in entries.values())
        versions = {k: v for entry in entries.values() for k, v in entry["versions"].items()}
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        parts.append(f"Made by `saddlepoint bench --out benchmarks/bench.json` on {'; '.join(machines)}, with {listed}.")
    return "\n\n".join(parts)


def audited(kind: str) -> str:
    """What audits said of the networks of one kind, beside the usual attack and the one written by hand."""
    path = ROOT / "benchmarks" / "trust.json"
    if not path.exists():
        return "Not measured yet: `python benchmarks/trust.py benchmarks/trust.json`."
    report = json.loads(path.read_text())
    lines = [
        "| network | clean | usual PGD | by hand | audit | verdict, and what gave it away |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["rows"].items():
        if name.partition("/")[0] != kind:
            continue
        cells = [rate(row["clean"]), rate(row["naive"]), rate(row["adaptive"]), rate(row["left"])]
        why = ", ".join(dict.fromkeys(row["caught_by"] or row["failed"]))
        where = f"`{name.partition('/')[2]}`" + (f" ({row['threat']})" if row["threat"] != "linf:0.2" else "")
        lines.append(f"| {where} | {' | '.join(cells)} | {row['state']}{': ' + why if why else ''} |")
    return "\n".join([*lines, "", f"Made by `{report['command']}` (torch {report['versions']['torch']})."])


def rate(found: dict[str, Any] | None) -> str:
    """A share as a cell; its n where it is not a hundred."""
    if found is None or found["value"] is None:
        return "—"
    return f"{found['value']:.0%}" + ("" if found["n"] == 100 else f" of {found['n']}")


def beside(name: str) -> list[str]:
    """What was reported of a defense and what is measured here, as rows of a table."""
    found, p = audit_of(name), GALLERY[name].published
    rows = []
    if p is not None:
        claim = "—" if p.claimed is None else f"{p.claimed:.0%}"
        rows.append(f"{p.source}: {p.data}, {p.threat} | — | {claim} | {p.broken:.0%} | —")
    cells = [rate(found[key]) for key in ("clean", "naive", "adaptive", "left")]
    return [*rows, f"here: MNIST, {found['threat']} | {' | '.join(cells)}"]


def audit_of(name: str) -> dict[str, Any]:
    """What an audit said of an entry of the gallery."""
    row: dict[str, Any] = json.loads((ROOT / "benchmarks" / "trust.json").read_text())["rows"][f"gallery/{name}"]
    return row


def published() -> str:
    """What was reported of the defenses of the gallery, and what was left of them, beside what is measured here."""
    lines = ["| defense | data, threat | clean | claimed, or usual PGD | by hand | audit |", "|---|---|---|---|---|---|"]
    for name, entry in GALLERY.items():
        if entry.published is not None:
            lines += [f"| {'' if i else f'[`{name}`](defenses/{name}.md)'} | {row} |" for i, row in enumerate(beside(name))]
    return "\n".join(lines)


def entries() -> str:
    """The gallery, a line a defense."""
    lines = ["| name | what it does | why attacks fail | attack by hand |", "|---|---|---|---|"]
    lines += [
        f"| [`{name}`](defenses/{name}.md) | {entry.about} | {entry.masking} | {entry.undone} |"
        for name, entry in GALLERY.items()
    ]
    return "\n".join([*lines, "", *(f"- *{kind}*: {why}" for kind, why in MASKING.items())])


def defense_page(name: str) -> str:
    """The page of one broken defense."""
    entry = GALLERY[name]
    how = "".join(f", {key}={value if isinstance(value, int) else f'sp.{value}'}" for key, value in entry.how.items())
    eight_bits = "\nx = (255 * x).round() / 255  # images of eight bits" if "quantize" in entry.how else ""
    found = audit_of(name)
    parts = [
        "<!-- Made by docs/make_pages.py from src/saddlepoint/defenses/gallery.py. -->",
        f"# {name}",
        entry.about + (" It answers at random." if entry.random else ""),
        f"**Why attacks fail** ({entry.masking}): {MASKING[entry.masking]}",
        f"**What undoes it**: {entry.undone}",
        "| data, threat | clean | claimed, or usual PGD | by hand | audit |\n|---|---|---|---|---|\n"
        + "\n".join(f"| {row} |" for row in beside(name)),
        f"What an audit says, told nothing: *{found['sentence']}* What gave it away: "
        f"{', '.join(dict.fromkeys(found['caught_by']))}.",
        f"""## Use it

```python
import saddlepoint as sp
from saddlepoint.core.play import as_model
from saddlepoint.data import load
from saddlepoint.defenses.gallery import entry
from saddlepoint.defenses.workshop import Workshop

x, y = load("digits").batch(range({EXAMPLES})){eight_bits}
shipped = entry("{name}").build(Workshop(load("digits", "train")))
model, attack = entry("{name}").adaptive(shipped)
result = sp.attack(model, x, y, "{entry.threat}", attack{how})
answers = as_model(shipped).labels(result.x_adv)
print(f"{{int((answers == y).sum())}} of {{len(y)}} right")
```

The audit, told nothing, from the shell:

```sh
saddlepoint audit {name} --data digits --threat {entry.threat} --limit 50
```""",
        f"## Paper\n\n{entry.paper}" + (f" arXiv: {entry.paper.arxiv}." if entry.paper.arxiv else "") if entry.paper else "",
        "How the figures were made, and the parts it is built of: [broken defenses](../defenses.md).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index() -> str:
    """The list of attacks, a sentence each."""
    lines = [f"- [{name}]({name}.md): {docstring(cls)[0]}" for name, cls in built_in().items()]
    head = (
        "<!-- Made by docs/make_pages.py. -->\n\n# All attacks\n\nWhich one? See [choosing an attack](../choosing.md).\n\n"
    )
    return head + "\n".join(lines) + "\n"


# -- parts of pages -------------------------------------------------------------------------------------------------


def part(name: str) -> str:
    """What stands between the marks of a name."""
    if name in PARTS:
        return PARTS[name]()
    if name.startswith("audits/"):
        return audited(name.removeprefix("audits/"))
    if name == "nav":
        listed = ["- All attacks: attacks/index.md", *(f"- {name}: attacks/{name}.md" for name in built_in())]
        return "\n".join("      " + line for line in listed)
    if name == "nav/defenses":
        return "\n".join(f"      - {name}: defenses/{name}.md" for name in GALLERY)
    if name.startswith("examples/"):
        return f'```python title="{name}"\n{(ROOT / name).read_text()}```'
    if ":" in name:
        module, _, path = name.partition(":")
        found = attrgetter(path)(import_module(module))
        return f'```python title="src/{module.replace(".", "/")}.py"\n{textwrap.dedent(inspect.getsource(found))}```'
    raise ValueError(f"No part is called {name!r}: see `part` for the names there are.")


PARTS: dict[str, Callable[[], str]] = {
    "attacks": lambda: all_attacks("attacks/"),
    "presets": presets,
    "universal": universal,
    "bench": benchmark,
    "published": published,
    "gallery": entries,
    "accelerated": costs.accelerated,
    "agreement": costs.agreement,
    "missed": costs.missed,
    "profiles": costs.profiles,
    "scale": costs.scale,
}


def filled(text: str) -> str:
    """A text with its made parts made anew."""
    marks = r"(?P<open><!-- made: (?P<a>\S+) -->\n).*?(?P<close><!-- end made -->)"
    text = re.sub(marks, lambda m: f"{m['open']}{part(m['a'])}\n{m['close']}", text, flags=re.DOTALL)
    yaml = r"(?P<open> *# made: (?P<a>\S+)\n).*?(?P<close> *# end made)"
    return re.sub(yaml, lambda m: f"{m['open']}{part(m['a'])}\n{m['close']}", text, flags=re.DOTALL)


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that is made, in whole or in part, with its text."""
    yield DOCS / "attacks" / "index.md", index()
    for name, cls in built_in().items():
        yield DOCS / "attacks" / f"{name}.md", page(cls)
    for name in GALLERY:
        yield DOCS / "defenses" / f"{name}.md", defense_page(name)
    for path in [ROOT / "mkdocs.yml", *sorted(DOCS.glob("*.md"))]:
        yield path, filled(path.read_text())


def stale() -> list[Path]:
    """Files that are not what they should be, and pages of things that are gone."""
    made = dict(pages())
    gone = [path for folder in MADE for path in (DOCS / folder).glob("*.md") if path not in made]
    return gone + [path for path, text in made.items() if not path.exists() or path.read_text() != text]


def main() -> None:
    """Write, or check."""
    found = stale()
    if "--check" in sys.argv[1:]:
        for path in found:
            print(f"{path.relative_to(ROOT)} is out of date: run python docs/make_pages.py")
        raise SystemExit(bool(found))
    made = dict(pages())
    for folder in MADE:
        (DOCS / folder).mkdir(exist_ok=True)
    for path in found:
        path.write_text(made[path]) if path in made else path.unlink()
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
