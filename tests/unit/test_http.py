"""A model behind a server: nothing is paid twice, no fault passes in silence, and an audit goes through."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import saddlepoint as sp
from saddlepoint.cli.app import app
from saddlepoint.core.errors import AccessError, InputError, ModelError
from saddlepoint.data import load
from saddlepoint.models.http import HTTPModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROOT = Path(__file__).parents[2]
LESSONS, ANSWERS = (t.numpy() for t in load("digits", "train").batch(range(600)))
MEANS = np.stack([LESSONS[k == ANSWERS].mean(0).ravel() for k in range(10)], axis=1)
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def scores(inputs: np.ndarray) -> np.ndarray:
    """Of the nearest mean: right about nine digits of ten."""
    return inputs.reshape(len(inputs), -1) @ MEANS - (MEANS**2).sum(0) / 2


class Server(ThreadingHTTPServer):
    """Answers questions as `kind` says; `faults` come first, one a question."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kind, self.faults, self.paid = "scores", [], Counter()
        self.times: list[float] = []
        self.headers: list[Any] = []
        self.delay = 0.0
        self.busy = self.busiest = 0
        self.url = f"http://127.0.0.1:{self.server_port}/predict"

    def reply(self, inputs: np.ndarray) -> Any:
        z = scores(inputs)
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        order = np.argsort(-p, axis=1)[:, :3]
        return {
            "scores": lambda: {"scores": z.tolist()},
            "probabilities": lambda: {"scores": p.tolist()},
            "labels": lambda: {"labels": z.argmax(1).tolist()},
            "top": lambda: {
                "top": [[{"class": int(k), "score": float(q[k])} for k in o] for o, q in zip(order, p, strict=True)]
            },
            "top logits": lambda: {
                "top": [[{"class": int(k), "score": float(q[k])} for k in o] for o, q in zip(order, z, strict=True)]
            },
        }[self.kind]()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        server = self.server
        server.times.append(time.monotonic())
        server.headers.append(self.headers)
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        if isinstance(given, dict):
            array = np.frombuffer(base64.b64decode(given["data"]), dtype="<f4").reshape(given["shape"])
        else:
            array = np.array(given, dtype=np.float32)
        fault = server.faults.pop(0) if server.faults else None
        if callable(fault):
            return self.send(200, fault(server.reply(array)))
        if isinstance(fault, float):
            time.sleep(fault)
        elif fault is not None:
            code, *retry = fault if isinstance(fault, tuple) else (fault,)
            return self.send(code, "no", retry)
        server.busy += 1
        server.busiest = max(server.busiest, server.busy)
        time.sleep(server.delay)
        server.busy -= 1
        server.paid.update(row.tobytes() for row in array)
        return self.send(200, json.dumps(server.reply(array)))

    def send(self, code: int, text: str, retry: Any = ()) -> None:
        try:
            self.send_response(code)
            for seconds in retry:
                self.send_header("Retry-After", str(seconds))
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())
        except OSError:
            pass  # who asked has gone

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def quick(server: Server, **how: Any) -> HTTPModel:
    return HTTPModel(server.url, **({"backoff": 0.01, "retries": 2} | how))


# -- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["lists", "base64"])
def test_scores_probabilities_and_labels(server, encoding):
    z = torch.from_numpy(scores(X.numpy()))
    assert torch.allclose(quick(server, encoding=encoding).logits(X), z, atol=1e-5)
    server.kind = "probabilities"
    assert torch.allclose(quick(server, returns="probabilities").logits(X), z.log_softmax(1), atol=1e-4)
    for server.kind in ("labels", "scores", "top"):
        model = quick(server, returns="labels", encoding=encoding)
        assert model.access is sp.Access.LABELS
        assert torch.equal(model.labels(X), z.argmax(1))
        with pytest.raises(AccessError):
            model.logits(X)
    double = quick(server, returns="labels").labels(X.double())
    assert torch.equal(double, z.argmax(1))


def test_classes_that_top_leaves_out_are_below_those_it_names(server):
    z = torch.from_numpy(scores(X.numpy()))
    named = z.topk(3).indices
    for server.kind, returns in (("top", "probabilities"), ("top logits", "logits")):
        found = quick(server, returns=returns, classes=10).logits(X)
        assert torch.equal(found.topk(3).indices, named)
        given = found.gather(1, named)
        others = torch.ones_like(z, dtype=torch.bool).scatter(1, named, False)
        rest = found[others].view(len(X), 7)
        assert (rest < given[:, -1:]).all()
        assert torch.allclose(rest, rest[:, :1].expand_as(rest))
        if returns == "probabilities":
            assert torch.allclose(found.exp().sum(1), torch.ones(len(X)), atol=1e-3)
        else:
            assert torch.allclose(rest[:, 0], given[:, 2] - (given[:, 0] - given[:, 2]) / 2, atol=1e-4)
    with pytest.raises(ModelError, match="nobody said how many there are"):
        quick(server, returns="logits").logits(X)


@pytest.mark.parametrize(
    ("kind", "returns"),
    [
        ("scores", "logits"),
        ("probabilities", "probabilities"),
        ("labels", "labels"),
        ("top", "probabilities"),
        ("top logits", "logits"),
    ],
)
def test_one_question_shows_what_a_server_returns(server, kind, returns):
    server.kind = kind
    assert quick(server, classes=10).probe((1, 8, 8)).returns == returns
    assert sum(server.paid.values()) == 1


# -- nothing is paid twice ---------------------------------------------------------------------------------------------


def test_an_input_is_paid_for_once_however_often_it_is_asked_about(server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    twice = torch.cat([X, X[:2], X])
    for _ in range(2):  # another process, as far as the model can tell
        model = quick(server, cache=cache, batch=4)
        first, again = model.logits(twice), model.logits(X)
        assert torch.equal(first[:6], again)
        assert torch.equal(first[8:], again)
        assert torch.equal(first[6:8], again[:2])
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == 6
    assert model.sent == model.requests == 0
    assert model.kept == 20
    quick(server, cache=cache).logits(X.view(6, 64))  # the same numbers, in another shape, are another input
    assert set(server.paid.values()) == {2}


def test_failures_in_the_middle_cost_nothing_twice(server, tmp_path):
    how = {"cache": tmp_path / "a.sqlite", "batch": 1}
    for concurrency in (1, 3):
        server.paid.clear()
        how["cache"] = tmp_path / f"{concurrency}.sqlite"
        server.faults = [None, 404]
        with pytest.raises(ModelError, match="404"):
            quick(server, concurrency=concurrency, **how).logits(X)
        assert 1 <= len(server.paid) < 6
        model = quick(server, concurrency=concurrency, **how)
        assert torch.allclose(model.logits(X), torch.from_numpy(scores(X.numpy())), atol=1e-5)
        assert set(server.paid.values()) == {1}
        assert model.sent < 6


SCRIPT = """
import sys, torch, saddlepoint as sp
model = sp.HTTPModel(sys.argv[1], cache=sys.argv[2], batch=1)
x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
print(model.logits(x).argmax(1).tolist(), model.sent, model.kept)
"""


def test_killed_without_warning_it_goes_on(server, tmp_path):
    server.delay = 0.05
    command = [sys.executable, "-c", SCRIPT, server.url, str(tmp_path / "answers.sqlite")]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while len(server.paid) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.delay = 0.0
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    sent, kept = map(int, done.stdout.split()[-2:])
    assert sent + kept == 40
    assert kept >= 4
    assert sum(server.paid.values()) <= 41  # at most the one whose answer was on its way


# -- patience ----------------------------------------------------------------------------------------------------------


def test_it_tries_again_with_longer_and_longer_waits(server):
    server.faults = [500, 503, 0.0]
    model = quick(server, backoff=0.1)
    model.logits(X[:1])
    first, second = np.diff(server.times) + 0.01  # sent earlier than it arrived
    assert first >= 0.1
    assert second >= 0.2
    assert (model.requests, model.sent) == (3, 1)


def test_it_does_as_retry_after_says(server):
    server.faults = [(429, 1)]
    quick(server).logits(X[:1])
    assert np.diff(server.times)[0] > 0.98
    server.faults = [(429, "Fri, 01 Jan 2100 00:00:00 GMT")]
    with pytest.raises(ModelError, match=r"429.*asks to wait \d+ s, longer than the patience of 120 s"):
        quick(server).logits(X[:1])


def test_a_timeout_is_tried_again_and_then_said(server):
    server.faults = [0.5, None]
    model = quick(server, timeout=0.2)
    model.logits(X[:1])
    assert model.requests == 2
    server.faults = [0.5, 0.5]
    with pytest.raises(ModelError, match=r"gave no answer within 0\.2 s, at each of 2 attempts"):
        quick(server, timeout=0.2, retries=1).logits(X[:1])


def test_no_more_requests_than_the_rate_and_no_more_at_once_than_allowed(server):
    quick(server, rate=20, batch=1, concurrency=3).logits(X)
    assert max(server.times) - min(server.times) > 0.2  # five gaps of 0.05, but for when each arrives
    server.delay, server.busiest = 0.1, 0
    quick(server, batch=1, concurrency=3).logits(X)
    assert 2 <= server.busiest <= 3


# -- faults ------------------------------------------------------------------------------------------------------------


def change(**new: Any) -> Any:
    return lambda reply: json.dumps(reply | new)


FAULTS = {
    "not JSON": (lambda reply: "<html>", r"must answer in JSON; got '<html>'"),
    "a list": (lambda reply: "[1, 2]", r'must answer \{"scores"'),
    "two kinds": (change(labels=[0]), r'must answer \{"scores"'),
    "too few rows": (change(scores=[]), r"1 rows of scores to 1 inputs; got 0 rows"),
    "no rows": (change(scores=3), r"got int"),
    "NaN": (change(scores=[[float("nan"), 1.0]]), r"must answer in JSON.*NaN is no number"),
    "null": (change(scores=[[None, 1.0]]), r"must answer finite numbers.*\[None, 1\.0\]"),
    "infinity": (lambda reply: '{"scores": [[1e999, 1.0]]}', r"must answer finite numbers"),
    "one class": (change(scores=[[1.0]]), r"at least two classes"),
    "labels": (lambda reply: '{"labels": [3]}', r"gives labels, and scores were expected"),
    "a broken label": (lambda reply: '{"labels": [3.5]}', r"class numbers from 0; got 3\.5"),
    "top of nothing": (lambda reply: '{"top": [[]]}', r"each class once; got \[\]"),
    "top of an unknown class": (lambda reply: '{"top": [[{"class": 12, "score": 1}]]}', r"names class 12 .* there are 10"),
    "400": (400, r"answered 400 Bad Request: 'no'"),
    "redirected": (302, r"answered 302"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_sentence(server, name, tmp_path):
    fault, sentence = FAULTS[name]
    server.faults = [fault]
    model = quick(server, cache=tmp_path / "a.sqlite", classes=10)
    with pytest.raises(ModelError, match=sentence) as raised:
        model.logits(X[:1])
    assert len(str(raised.value)) <= 400
    assert "\n" not in str(raised.value)
    assert model.requests == 1
    if name != "labels" and "unknown" not in name:  # well formed, so they are kept, and refused again
        assert model.logits(X[:1]).shape == (1, 10)


def test_rows_of_several_lengths(server):
    server.faults = [lambda reply: '{"scores": [[1, 2], [1, 2, 3]]}']
    with pytest.raises(ModelError, match=r"always score the same classes; got \[2, 3\]"):
        quick(server).logits(X[:2])


def test_nobody_there():
    with pytest.raises(ModelError, match=r"could not be reached \(ConnectError"):
        HTTPModel("http://127.0.0.1:9/", retries=1, backoff=0).labels(X)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"url": "ftp://host"}, "must be an address"),
        ({"url": 5}, "must be an address"),
        ({"url": "http://me:secret@host/"}, "password"),
        ({"returns": "colors"}, "returns must be one of"),
        ({"batch": 0}, "batch must be an integer of at least 1"),
        ({"rate": 0}, "rate must be requests a second"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"classes": 1}, "classes must be"),
    ],
)
def test_bad_settings(how, sentence):
    with pytest.raises(InputError, match=sentence):
        HTTPModel(**({"url": "http://host/"} | how))


def test_a_file_of_answers_that_is_none(server, tmp_path):
    (tmp_path / "a.sqlite").write_text("this is no database, and long enough to be seen as such" * 30)
    with pytest.raises(InputError, match="Could not keep answers"):
        quick(server, cache=tmp_path / "a.sqlite").labels(X)


def test_a_function_that_gives_no_number_gives_no_answer():
    model = sp.CallableModel(lambda x: np.where(x.reshape(len(x), -1)[:, :3] > 0.5, np.nan, 1.0))
    x = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.2, 0.3]])
    assert model.labels(x).tolist() == [0, -1]


# -- from the shell ------------------------------------------------------------------------------------------------


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path / "runs"))


def shell(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code in (0, 3), done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("kind", ["top", "labels"])
def test_an_audit_of_a_server_pays_for_everything_once(server, kind, monkeypatch):
    server.kind = kind
    monkeypatch.setenv("SADDLEPOINT_HTTP_HEADERS", '{"X-Key": "secret"}')
    words = ["audit", f"{server.url}#batch=8", "--data", "digits", "--limit", "4", "--threat", "linf:0.2", "--queries", "9"]
    first = shell(*words, "--out", "one", "--batch", "2")
    assert first["subjects"][0]["name"] == server.url.removeprefix("http://")
    assert set(server.paid.values()) == {1}
    assert {headers["X-Key"] for headers in server.headers} == {"secret"}
    paid = sum(server.paid.values())
    again = shell(*words, "--out", "two", "--batch", "2")  # from the beginning, in another folder
    assert sum(server.paid.values()) == paid
    for subject in (first["subjects"][0], again["subjects"][0]):
        for attack in subject["attacks"]:
            attack.pop("seconds", None)
    assert first["subjects"] == again["subjects"]
    assert "secret" not in Path("one/run.sqlite").read_bytes().decode("latin1")


@pytest.mark.usefixtures("_folder")
def test_an_audit_that_a_fault_ends_goes_on(server):
    words = ["audit", f"{server.url}#returns=labels&retries=0", "--data", "digits", "--limit", "4", "--threat", "l2:2"]
    words += ["--attack", "HopSkipJump", "--queries", "60", "--batch", "2", "--out", "run"]
    server.faults = [None] * 20 + [404]
    broken = CliRunner().invoke(app, [*words, "--json"])
    assert broken.exit_code == 2
    assert "404" in re.sub(r"\s+", " ", broken.output)
    paid = dict(server.paid)
    assert paid
    result = shell(*words)
    assert result["subjects"][0]["robust"]["undecided"] == 0
    assert set(server.paid.values()) == {1}
    assert len(server.paid) > len(paid)


@pytest.mark.usefixtures("_folder")
def test_one_attack_on_a_server(server):
    found = shell(
        "attack", "Square", "--model", f"{server.url}#cache=none", "--data", "digits", "--limit", "3", "--set", "steps=20"
    )
    assert found["n"] == 3
    assert not Path("runs").exists()
    refused = CliRunner().invoke(app, ["attack", "PGD", "--model", server.url, "--data", "digits", "--limit", "3"])
    assert refused.exit_code == 2
    assert "gives scores only" in refused.output
    wrong = CliRunner().invoke(app, ["attack", "Square", "--model", server.url + "#retri=3", "--data", "digits"])
    assert wrong.exit_code == 2
    assert "Did you mean 'retries'" in wrong.output
