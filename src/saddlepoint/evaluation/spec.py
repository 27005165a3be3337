"""What is to be evaluated, as plain data: enough to do it again, and to know whether it has been done."""

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy
import torch

import saddlepoint
from saddlepoint.core.attack import Attack
from saddlepoint.core.config import from_config, to_config
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.play import as_threat
from saddlepoint.core.threat import Threat

Playing = Literal["main", "curve", "pairs", "rescue", "guided"]
Checking = Literal["naive", "noise", "doubled", "unbounded", "transfer"]
Role = Playing | Checking
DECIDING = ("main", "rescue", "guided")  # what decides robust accuracy
RESCUE = ("rescue", "guided")  # what is played only where the checks of the rest fail
CHECKING = ("naive", "noise", "doubled", "unbounded", "transfer")  # what is played to know what the rest is worth


@dataclass(frozen=True)
class Task:
    """One attack in one threat, over all examples.

    Attributes:
        name: unique, readable.
        attack: the attack's configuration.
        threat: text such as "linf:0.3".
        role: "main" decides robust accuracy, "curve" extends it over radii, "pairs" fills the source-target matrices. The
            others serve to know what these are worth: "naive" is the attack as it is commonly written, on the model as it
            was given; "noise" and "doubled" are random points and twice the steps; "unbounded" has the whole range of
            inputs; "transfer" attacks a network taught to answer alike. "rescue", and "guided" with the gradient of that
            network, are played where the checks of all others fail, and then decide, too.
        target: the class to reach, or None for any wrong one.
        examples: only the first so many of the run's examples; None for all.
    """

    name: str
    attack: dict[str, Any] = field(hash=False)
    threat: str
    role: Role = "main"
    target: int | None = None
    examples: int | None = None

    def make(self) -> tuple[Attack, Threat]:
        """The records that the plain data describes."""
        return from_config(self.attack, "attack"), as_threat(self.threat)


@dataclass(frozen=True)
class Subject:
    """One model under evaluation.

    Attributes:
        name: as the report shows it.
        source: where it came from, in words or as the command line names it.
        weights: SHA-256 of parameters and buffers, or "" for a model that has none to look at.
        training: configuration of the trainer, if this run trained it.
    """

    name: str
    source: str
    weights: str = ""
    training: dict[str, Any] | None = None


@dataclass(frozen=True)
class Spec:
    """A whole evaluation.

    Attributes:
        subjects: the models.
        data: name of the data set.
        data_digest: SHA-256 of its content.
        examples: dataset indices, in order.
        threat: the main threat.
        tasks: what is run, in order.
        seed: of all noise.
        batch: rows at once; also how much a crash can cost.
        queries: forward passes an attack may spend on an example.
        preset: where the tasks came from.
        device: where the models run.
        faster: by what means models that need no repair are made faster to search on.
        versions: of what the numbers depend on.
    """

    subjects: tuple[Subject, ...]
    data: str
    data_digest: str
    examples: tuple[int, ...]
    threat: str
    tasks: tuple[Task, ...]
    seed: int = 0
    batch: int = 128
    queries: int | None = None
    preset: str = "custom"
    device: str = "cpu"
    faster: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=lambda: versions())

    @property
    def digest(self) -> str:
        """SHA-256 of everything above: equal specifications are the same run."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Spec":
        """Read what `to_json` wrote.

        Raises ConfigError when the text is something else.
        """
        try:
            data = json.loads(text)
            data["subjects"] = tuple(Subject(**s) for s in data["subjects"])
            data["tasks"] = tuple(Task(**t) for t in data["tasks"])
            data["examples"] = tuple(data["examples"])
            data["faster"] = tuple(data["faster"])
            return cls(**data)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"This is not the specification of a run ({error!r}). It may be from another version."
            ) from None


def versions() -> dict[str, str]:
    """Versions that results depend on."""
    return {
        "saddlepoint": saddlepoint.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
    }


def environment() -> dict[str, str]:
    """Where a run was made; recorded, but not part of its identity."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    revision = git("rev-parse", "HEAD")
    dirty = "-dirty" if revision and git("status", "--porcelain", "--untracked-files=no") else ""
    return {"platform": platform.platform(), "machine": platform.machine(), "git": revision + dirty}


def weights_digest(net: torch.nn.Module) -> str:
    """SHA-256 of names, shapes, types and bytes of parameters and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        array = value.detach().cpu().contiguous()
        found.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        found.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def task(attack: Attack, threat: str, role: Role = "main", **more: Any) -> Task:
    """A task named after its attack, its settings and its threat."""
    config = to_config(attack)
    defaults = to_config(type(attack)())
    changed = ", ".join(f"{k}={_short(v)}" for k, v in config.items() if v != defaults.get(k))
    name = type(attack).__name__ + (f"({changed})" if changed else "") + f" @ {threat}"
    if more.get("target") is not None:
        name += f" to {more['target']}"
    if role in CHECKING + RESCUE:
        name += f" ({role})"
    return Task(name=name, attack=config, threat=threat, role=role, **more)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", value))
    return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else str(value)
