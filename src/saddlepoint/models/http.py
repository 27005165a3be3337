"""A classifier behind a web address."""

import base64
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import InputError, ModelError
from saddlepoint.core.model import Access, Model, checked_bounds
from saddlepoint.models.callable import log_probabilities

Returns = Literal["logits", "probabilities", "labels"]
Row = dict[str, Any]
AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Answers after which the same question may be put once more."""


class HTTPModel(Model):
    """A classifier that is asked by HTTP, and never twice about the same input.

    A question is `POST url` with the JSON `{"inputs": [...]}`, a batch of inputs as nested lists, or, with
    `encoding="base64"`, `{"inputs": {"shape": [b, ...], "dtype": "float32", "data": "..."}}`, the bytes of little-endian
    numbers in C order. The answer is one of

        {"scores": [[...], ...]}                                  one number a class, in the order of the classes
        {"labels": [3, ...]}                                      class numbers
        {"top": [[{"class": 3, "score": 0.9}, ...], ...]}         the best few classes of each input

    The classes that "top" does not name get equal scores below the smallest that was given: of probabilities, shares of
    what is left, and at least one millionth less; of logits, the smallest minus the mean gap between those given, or minus
    1 where there is no gap.

    Answers are kept in a file as they arrive, under the SHA-256 of the address and of the input's float32 bytes. So a
    killed run pays for nothing again but what was on its way. Give no `cache` for a server that answers at random.

    Args:
        url: http://... or https://...
        bounds: lowest and highest value of an input.
        returns: "logits" (any scores), "probabilities" (turned into their logarithms) or "labels" (the answer alone, also of
            a server that gives scores).
        classes: how many there are; needed for "top" answers alone.
        encoding: of the inputs: "lists" or "base64", a quarter of the bytes.
        batch: inputs a request.
        concurrency: requests at once.
        rate: requests a second, at most; None for no limit.
        timeout: seconds that the server may be silent.
        retries: how often a question is put again after a timeout, a lost connection or an answer 408, 425, 429, 5xx.
        backoff: seconds before the first retry, doubled each time; there is no jitter. What `Retry-After` says comes first.
        patience: longest wait in seconds before a retry.
        headers: sent along, as for a key; never stored.
        cache: sqlite file of answers; None to keep none.

    Attributes:
        sent: inputs put to the server and answered.
        requests: requests made, those that failed too.
        kept: inputs answered from the file, or by another row of the same question.
        seconds: spent on requests, those at the same time added up.

    Raises:
        InputError: an argument is not what it should be, or the package httpx2 is missing.
    """

    def __init__(
        self,
        url: str,
        bounds: tuple[float, float] = (0.0, 1.0),
        returns: Returns = "logits",
        *,
        classes: int | None = None,
        encoding: Literal["lists", "base64"] = "lists",
        batch: int = 32,
        concurrency: int = 1,
        rate: float | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        backoff: float = 0.5,
        patience: float = 120.0,
        headers: Mapping[str, str] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self._http = _client_library()
        self.url, self.headers = _checked_url(self._http, url), dict(headers or {})
        self.bounds = checked_bounds(bounds)
        for name, value, known in (
            ("returns", returns, ("logits", "probabilities", "labels")),
            ("encoding", encoding, ("lists", "base64")),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
        for name, count, least in (("batch", batch, 1), ("concurrency", concurrency, 1), ("retries", retries, 0)):
            if not isinstance(count, int) or isinstance(count, bool) or count < least:
                raise InputError(f"{name} must be an integer of at least {least}; got {count!r}.")
        for name, number, zero in (("timeout", timeout, False), ("backoff", backoff, True), ("patience", patience, True)):
            if not _is_number(number) or number < 0 or (number == 0 and not zero):
                raise InputError(f"{name} must be a number of seconds {'from' if zero else 'above'} 0; got {number!r}.")
        if rate is not None and not (_is_number(rate) and rate > 0):
            raise InputError(f"rate must be requests a second, above 0; got {rate!r}. Leave it out for no limit.")
        if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool) or classes < 2):
            raise InputError(f"classes must be an integer of at least 2; got {classes!r}.")
        self.returns, self.classes, self.encoding = returns, classes, encoding
        self.batch, self.concurrency, self.retries = batch, concurrency, retries
        self.timeout, self.backoff, self.patience = float(timeout), float(backoff), float(patience)
        self.cache = None if cache is None else Path(cache)
        self.sent = self.requests = self.kept = 0
        self.seconds = 0.0
        self._pace = _Pace(rate)
        self._depth, self._answers = 0, _Answers(self.cache)
        self._client: Any = None
        self._tls: Any = None

    @property
    def access(self) -> Access:  # type: ignore[override]  # known from what the server returns
        """Labels or scores."""
        return Access.LABELS if self.returns == "labels" else Access.SCORES

    def logits(self, x: Tensor) -> Tensor:
        self.require(Access.SCORES, "logits", "Ask for labels.")
        rows = [self._scores(row) for row in self._ask(x)]
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise ModelError(f"The server at {self.url} must always score the same classes; got {sorted(lengths)} of them.")
        scores = torch.tensor(rows, dtype=x.dtype, device=x.device).view(len(rows), *lengths or (2,))
        return log_probabilities(scores, "Say returns='logits'.") if self.returns == "probabilities" else scores

    def labels(self, x: Tensor) -> Tensor:
        if self.returns != "labels":
            return super().labels(x)
        return torch.tensor([_label(row) for row in self._ask(x)], dtype=torch.int64, device=x.device)

    @contextmanager
    def session(self) -> Iterator["HTTPModel"]:
        """Connections and the file of answers are open inside."""
        if not self._depth:
            if self._tls is None:  # certificates take long to load
                self._tls = self.url.startswith("https") and self._http.create_ssl_context()
            self._client = self._http.Client(timeout=self.timeout, headers=self.headers, verify=self._tls)
            self._answers.open()
        self._depth += 1
        try:
            yield self
        finally:
            self._depth -= 1
            if not self._depth:
                self._client.close()
                self._answers.close()

    def probe(self, shape: Sequence[int]) -> "HTTPModel":
        """Ask about one gray input, and set `returns` to what the answer is: labels, probabilities or other scores."""
        (row,) = self._ask(torch.full((1, *shape), sum(self.bounds) / 2))
        numbers = row.get("scores") or [entry["score"] for entry in row.get("top", [])]
        likely = bool(numbers) and min(numbers) >= 0 and sum(numbers) <= 1 + 1e-3
        likely = likely and ("top" in row or sum(numbers) >= 1 - 1e-3)
        self.returns = "labels" if not numbers else "probabilities" if likely else "logits"
        return self

    def __repr__(self) -> str:
        return f"HTTPModel({self.url!r}, returns={self.returns!r}, sent={self.sent}, kept={self.kept})"

    # -- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, x: Tensor) -> list[Row]:
        """The server's answer to every input: what is on file from there, each other input once."""
        inputs = np.ascontiguousarray(x.detach().cpu().numpy(), dtype="<f4")
        keys = [self._key(row) for row in inputs]
        with self.session():
            found = self._answers.read(keys)
            fresh = list({key: i for i, key in reversed(list(enumerate(keys))) if key not in found}.values())[::-1]
            parts = [fresh[i : i + self.batch] for i in range(0, len(fresh), self.batch)]
            self.kept += len(keys) - len(fresh)
            for part, rows in zip(parts, self._answered(inputs, keys, parts), strict=True):
                found |= {keys[i]: row for i, row in zip(part, rows, strict=True)}
        return [found[key] for key in keys]

    def _key(self, row: np.ndarray) -> bytes:
        head = json.dumps([self.url, list(row.shape)])
        return hashlib.sha256(head.encode() + b"\0" + row.tobytes()).digest()

    def _answered(self, inputs: np.ndarray, keys: list[bytes], parts: list[list[int]]) -> list[list[Row]]:
        """The rows of each part. Whatever ends it early, answers on their way are waited for, and kept."""

        def one(part: list[int]) -> list[Row]:
            rows = self._request(inputs[part])
            self._answers.write({keys[i]: row for i, row in zip(part, rows, strict=True)})
            return rows

        if self.concurrency == 1 or len(parts) <= 1:
            return [one(part) for part in parts]
        self._pace.over.clear()
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            running = [pool.submit(one, part) for part in parts]
            for done in as_completed(running):
                done.result()
            return [done.result() for done in running]
        finally:
            self._pace.over.set()  # nobody waits for a retry any longer
            pool.shutdown(wait=True, cancel_futures=True)
            self._pace.over.clear()

    def _request(self, inputs: np.ndarray) -> list[Row]:
        """One question, put again while there is hope."""
        if self.encoding == "lists":
            body: Any = inputs.tolist()
        else:
            body = {"shape": inputs.shape, "dtype": "float32", "data": base64.b64encode(inputs.tobytes()).decode()}
        for attempt in range(self.retries + 1):
            wait, problem = self._attempt({"inputs": body}, len(inputs), self.backoff * 2**attempt)
            if isinstance(problem, list):
                return problem
            if attempt < self.retries:
                if wait > self.patience:
                    raise ModelError(
                        f"The server at {self.url} {problem}, and asks to wait {wait:.0f} s, longer than the patience of "
                        f"{self.patience:g} s. Run again later; what was answered is kept."
                    )
                self._pace.pause(wait)
        raise ModelError(
            f"The server at {self.url} {problem}, at each of {self.retries + 1} attempts. "
            "Check it, or give a longer timeout or more retries."
        )

    def _attempt(self, body: Any, n: int, wait: float) -> tuple[float, str | list[Row]]:
        """The rows of an answer; or what went wrong and how long to wait before the next attempt."""
        self._pace.turn()
        with self._pace.lock:
            self.requests += 1
        wait = min(wait, self.patience)
        started = time.monotonic()
        try:
            response = self._client.post(self.url, json=body)
        except self._http.TimeoutException:
            return wait, f"gave no answer within {self.timeout:g} s"
        except self._http.TransportError as error:
            return wait, f"could not be reached ({type(error).__name__}: {error})"
        if response.status_code in AGAIN:
            asked = _seconds(response.headers.get("Retry-After"))
            return wait if asked is None else asked, f"answered {response.status_code} {response.reason_phrase}"
        if response.status_code != 200:
            raise ModelError(
                f"The server at {self.url} answered {response.status_code} {response.reason_phrase}: "
                f"{response.text[:120]!r}. Correct the address, the headers or the inputs."
            )
        rows = self._read(response.text, n)
        with self._pace.lock:
            self.sent += n
            self.seconds += time.monotonic() - started
        return 0.0, rows

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self, text: str, n: int) -> list[Row]:
        """The rows of an answer, or one ModelError."""
        try:
            data = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"The server at {self.url} must answer in JSON; got {text[:60]!r} ({str(error)[:60]}). Check the address."
            ) from None
        kinds = [kind for kind in ("scores", "labels", "top") if isinstance(data, dict) and kind in data]
        if len(kinds) != 1:
            raise ModelError(
                f'The server at {self.url} must answer {{"scores": ...}}, {{"labels": ...}} or {{"top": ...}}; '
                f"got {text[:60]!r}. See docs/remote.md."
            )
        (kind,) = kinds
        rows = data[kind]
        if not isinstance(rows, list) or len(rows) != n:
            got = f"{len(rows)} rows" if isinstance(rows, list) else type(rows).__name__
            raise ModelError(f"The server at {self.url} must answer {n} rows of {kind} to {n} inputs; got {got}.")
        wrong = next((row for row in rows if not WELL_FORMED[kind](row)), None)
        if wrong is not None:
            raise ModelError(f"The server at {self.url} must answer {EXPECTED[kind]}; got {str(wrong)[:60]}.")
        return [{"label" if kind == "labels" else kind: row} for row in rows]

    def _scores(self, row: Row) -> list[float]:
        """One score a class."""
        if "scores" in row:
            return row["scores"]
        if "label" in row:
            raise ModelError(f"The server at {self.url} gives labels, and scores were expected. Say returns='labels'.")
        top = {entry["class"]: float(entry["score"]) for entry in row["top"]}
        if self.classes is None or max(top) >= self.classes:
            known = "nobody said how many there are" if self.classes is None else f"there are {self.classes}"
            raise ModelError(
                f"The server at {self.url} names class {max(top)} among the best, and {known}. Give classes=..."
            )
        return [top.get(k, _rest(list(top.values()), self.classes, self.returns)) for k in range(self.classes)]


class _Pace:
    """When the next request may start: not before its turn by the rate, nor before the end of a pause."""

    def __init__(self, rate: float | None) -> None:
        self.gap = 0.0 if rate is None else 1 / rate
        self.next = 0.0
        self.lock, self.over = threading.Lock(), threading.Event()

    def turn(self) -> None:
        """Wait for it."""
        while True:
            with self.lock:
                wait = self.next - time.monotonic()
                if wait <= 0:
                    self.next = time.monotonic() + self.gap
                    return
            if self.over.wait(wait):
                raise ModelError("Another request failed, so this one was not made. Run again: what was answered is kept.")

    def pause(self, seconds: float) -> None:
        """Let nobody begin for so long."""
        with self.lock:
            self.next = max(self.next, time.monotonic() + seconds)


class _Answers:
    """Answers on file, or in no place at all."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.lock = path, threading.Lock()
        self.db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, made if need be."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")  # outlives the process whatever kills it
            self.db.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise InputError(f"Could not keep answers in {self.path} ({error}). Give another cache.") from None

    def close(self) -> None:
        """Close it."""
        if self.db is not None:
            self.db.close()
        self.db = None

    def read(self, keys: list[bytes]) -> dict[bytes, Row]:
        """What is known of the keys."""
        if self.db is None:
            return {}
        ask = "SELECT answer FROM answers WHERE key = ?"
        with _told(self.path):
            rows = {key: self.db.execute(ask, (key,)).fetchone() for key in dict.fromkeys(keys)}
        return {key: json.loads(row[0]) for key, row in rows.items() if row is not None}

    def write(self, answers: dict[bytes, Row]) -> None:
        """Keep them, all at once, from any thread."""
        if self.db is not None:
            rows = [(key, json.dumps(row)) for key, row in answers.items()]
            with self.lock, _told(self.path):
                self.db.execute("BEGIN IMMEDIATE")
                self.db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)
                self.db.execute("COMMIT")


@contextmanager
def _told(path: Path | None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ModelError(f"The file of answers {path} cannot be used ({error}). Remove it, or give another cache.") from None


def _client_library() -> Any:
    try:
        import httpx2
    except ImportError:
        raise InputError('HTTPModel needs the package httpx2. Run pip install "saddlepoint[http]".') from None
    return httpx2


def _checked_url(http: Any, url: Any) -> str:
    try:
        parts = http.URL(url)
    except (http.InvalidURL, TypeError, UnicodeError):
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.host:
        raise InputError(f"url must be an address such as http://localhost:8000/predict; got {url!r:.80}.")
    if parts.userinfo:
        raise InputError("The address contains a user's name or password, which would end up in records. Use headers.")
    return str(parts.copy_with(fragment=None))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _is_class(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_top(row: Any) -> bool:
    if not isinstance(row, list) or not row or not all(isinstance(e, dict) and {"class", "score"} <= set(e) for e in row):
        return False
    distinct = all(_is_class(e["class"]) for e in row) and len({e["class"] for e in row}) == len(row)
    return distinct and all(_is_score(e["score"]) for e in row)


WELL_FORMED: dict[str, Callable[[Any], bool]] = {
    "scores": lambda row: isinstance(row, list) and len(row) >= 2 and all(_is_score(value) for value in row),
    "labels": _is_class,
    "top": _is_top,
}
EXPECTED = {
    "scores": "finite numbers, one for each of at least two classes",
    "labels": "class numbers from 0",
    "top": 'lists of {"class": a number from 0, "score": a finite number}, each class once',
}


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _label(row: Row) -> int:
    """The answer of a row of any kind; the first among equals."""
    if "label" in row:
        return row["label"]
    if "scores" in row:
        return row["scores"].index(max(row["scores"]))
    return max(row["top"], key=lambda entry: entry["score"])["class"]


def _rest(given: list[float], classes: int, returns: str) -> float:
    """The score of a class that is not among the best: below all that are given."""
    smallest = min(given)
    if returns == "probabilities":
        return min(max(0.0, 1 - sum(given)) / max(1, classes - len(given)), smallest * (1 - 1e-6))
    gap = (max(given) - smallest) / (len(given) - 1) if len(given) > 1 else 0.0
    return smallest - (gap or 1.0)


def _seconds(text: str | None) -> float | None:
    """The wait that Retry-After asks for: seconds, or until a date; None for neither."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
