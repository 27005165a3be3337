"""A run on disk: per-example records in sqlite, adversarial inputs in shards, readable at every moment.

A chunk (one task on some examples) is acknowledged by one transaction, after its shard has reached the disk under its
final name. Whatever kills the process, the store holds whole chunks only.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from saddlepoint.core.errors import RunError

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    subject TEXT, task TEXT, start INTEGER, rows INTEGER, shard TEXT, sha256 TEXT,
    forwards INTEGER, backwards INTEGER, seconds REAL, PRIMARY KEY (subject, task, start)
);
CREATE TABLE IF NOT EXISTS records (
    subject TEXT, task TEXT, example INTEGER, label INTEGER, target INTEGER, outcome TEXT, clean INTEGER, answer INTEGER,
    clean_confidence REAL, confidence REAL, size REAL, linf REAL, l2 REAL, l1 REAL, l0 REAL,
    queries INTEGER, gradients INTEGER, blank INTEGER, start INTEGER, place INTEGER,
    PRIMARY KEY (subject, task, example)
);
"""
COLUMNS = (
    "subject", "task", "example", "label", "target", "outcome", "clean", "answer", "clean_confidence", "confidence",
    "size", "linf", "l2", "l1", "l0", "queries", "gradients", "blank", "start", "place",
)  # fmt: skip


class Store:
    """One run's folder, held by one process at a time.

    Raises:
        RunError: the folder belongs to another specification, another process, another version, or is damaged.
    """

    def __init__(self, folder: Path, spec: str | None = None, *, write: bool = True) -> None:
        self.folder = folder
        self.write = write
        if not write and not (folder / "run.sqlite").exists():
            raise RunError(f"There is no run in {folder}. `saddlepoint audit --out {folder}` makes one.")
        self._lock: IO[str] | None = None
        self.db: Any = None
        try:
            with _told(folder):
                if write:
                    (folder / "adv").mkdir(parents=True, exist_ok=True)
                    self._hold()
                self._open(spec)
        except BaseException:
            self.close()
            raise

    def _hold(self) -> None:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"Another process is working in {self.folder}. Wait for it, or choose another --out.") from None

    def _open(self, spec: str | None) -> None:
        mode = "rwc" if self.write else "ro"
        place = (self.folder / "run.sqlite").absolute().as_uri()
        self.db = sqlite3.connect(f"{place}?mode={mode}", uri=True, isolation_level=None)
        if self.write:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
        damage = self.db.execute("PRAGMA quick_check").fetchone()[0]
        if damage != "ok":
            raise RunError(f"{self.folder / 'run.sqlite'} is damaged ({damage}). Start again with --fresh.")
        if self.write:
            self.db.executescript(TABLES)
            self.db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
            if spec is not None:
                self.db.execute("INSERT OR IGNORE INTO meta VALUES ('spec', ?)", (spec,))
        if self.meta("schema") != str(SCHEMA):
            raise RunError(f"{self.folder} was written by another version (schema {self.meta('schema')}). Use --fresh.")
        if spec is not None and self.meta("spec") != spec:
            raise RunError(f"{self.folder} holds a run with other settings. Choose another --out, or --fresh to replace it.")

    def meta(self, key: str) -> str:
        """A stored text, "" when there is none."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def set_meta(self, key: str, value: str) -> None:
        """Store a text."""
        with _told(self.folder):
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def done(self) -> set[tuple[str, str, int]]:
        """Acknowledged chunks (subject, task, start) whose shards are whole; others are forgotten, to be done again."""
        good = set()
        for subject, task, start, shard, sha in self.db.execute("SELECT subject, task, start, shard, sha256 FROM chunks"):
            path = self.folder / "adv" / shard
            if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha:
                good.add((subject, task, start))
            elif self.write:
                key = (subject, task, start)
                self.db.execute("BEGIN")
                self.db.execute("DELETE FROM records WHERE subject = ? AND task = ? AND start = ?", key)
                self.db.execute("DELETE FROM chunks WHERE subject = ? AND task = ? AND start = ?", key)
                self.db.execute("COMMIT")
        return good

    def add(
        self,
        subject: str,
        task: str,
        start: int,
        records: Sequence[dict[str, Any]],
        tensors: dict[str, Tensor],
        cost: tuple[int, int, float],
    ) -> None:
        """Acknowledge a chunk: its tensors, then, in one transaction, its records."""
        blob = dump_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        name = hashlib.sha256(f"{subject}/{task}/{start}".encode()).hexdigest()[:16] + ".safetensors"
        marks = ", ".join("?" * len(COLUMNS))
        with _told(self.folder):
            write_atomically(self.folder / "adv" / name, blob)
            rows = [tuple({**r, "subject": subject, "task": task, "start": start}[c] for c in COLUMNS) for r in records]
            self.db.execute("BEGIN IMMEDIATE")
            try:
                self.db.executemany(f"INSERT INTO records VALUES ({marks})", rows)
                chunk = (subject, task, start, len(rows), name, hashlib.sha256(blob).hexdigest(), *cost)
                self.db.execute("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", chunk)
                self.db.execute("COMMIT")
            except BaseException:
                self.db.rollback()
                raise

    def records(self) -> list[dict[str, Any]]:
        """All records, in a fixed order."""
        found = self.db.execute(f"SELECT {', '.join(COLUMNS)} FROM records ORDER BY subject, task, example")
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    def costs(self) -> dict[tuple[str, str], tuple[int, int, float]]:
        """Forward passes, backward passes and seconds of each (subject, task)."""
        query = "SELECT subject, task, SUM(forwards), SUM(backwards), SUM(seconds) FROM chunks GROUP BY subject, task"
        return {(s, t): (f, b, sec) for s, t, f, b, sec in self.db.execute(query)}

    def tensors(self, subject: str, task: str, start: int) -> dict[str, Tensor]:
        """The shard of a chunk: "x_adv", and "x" where it was kept.

        Raises RunError when it is missing or damaged.
        """
        query = "SELECT shard FROM chunks WHERE subject = ? AND task = ? AND start = ?"
        row = self.db.execute(query, (subject, task, start)).fetchone()
        try:
            return load_tensors((self.folder / "adv" / row[0]).read_bytes())
        except (TypeError, OSError, SafetensorError):
            raise RunError(
                f"The inputs of {task} from example {start} on are missing or damaged in {self.folder}. "
                "Run the same command again to redo them."
            ) from None

    def close(self) -> None:
        """Let go of the folder."""
        for held in (self.db, self._lock):
            if held is not None:
                held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence; what is already stored stays readable."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = "full" in str(error)
        remedy = "Free some space" if full else "Make sure that nothing else uses the folder"
        remedy += ", then run the same command again: it goes on where it stopped."
        raise RunError(f"Could not write to {folder / 'run.sqlite'} ({error}). {remedy}") from error
    except sqlite3.DatabaseError as error:
        raise RunError(f"{folder / 'run.sqlite'} is damaged ({error}). Start again with --fresh.") from error
    except OSError as error:
        raise RunError(
            f"Could not write to {folder} ({error.strerror or error}). "
            "Make room or choose another --out, then run the same command again: it goes on where it stopped."
        ) from error


def write_atomically(path: Path, blob: bytes) -> None:
    """The file is whole under its name, or not there: write beside it, flush to disk, rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
