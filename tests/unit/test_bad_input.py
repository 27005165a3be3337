# ruff: noqa: E501
"""Whatever comes in: a right answer, or one sentence that names what came and what to do. Never a bare traceback."""

import re
import sys
import warnings
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from torch import nn

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.auditing import plan
from saddlepoint.core.goal import Targeted, Untargeted
from saddlepoint.models.resolve import resolve

NAN, INF = float("nan"), float("inf")
X = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
Y = torch.tensor([0, 1, 2, 0, 1, 2])
IMAGES = X.view(6, 1, 2, 2)
ATTACKS = {
    "FGSM": (a.FGSM(), "linf:0.1"),
    "PGD": (a.PGD(steps=3), "linf:0.1"),
    "APGD": (a.APGD(steps=3), "l2:0.1"),
    "DDN": (a.DDN(steps=3), "l2"),
    "DeepFool": (a.DeepFool(steps=3), "l2"),
    "CarliniWagner": (a.CarliniWagner(steps=3, searches=2), "l2"),
    "JSMA": (a.JSMA(max_distortion=1.0), "l0"),
    "Square": (a.Square(steps=5), "linf:0.1"),
    "HopSkipJump": (a.HopSkipJump(steps=1, first_evaluations=10, attempts=30), "l2"),
    "OnePixel": (a.OnePixel(population=5, generations=2), "l0:1"),
    "Cascade": (a.Cascade(attacks=(a.FGSM(), a.Square(steps=3))), "linf:0.1"),
}


@pytest.fixture(autouse=True)
def unchecked():
    """Users run without the type checker of these tests; what it would refuse must be refused without it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def one_sentence(error):
    """The message of an error of ours: on one line, short, and with what to do in words or in a second sentence."""
    assert isinstance(error, sp.SaddlepointError), f"a bare {type(error).__name__}: {error}"
    text = str(error)
    assert "\n" not in text and len(text) <= 400, text  # noqa: PT018
    assert text.rstrip(")").endswith("."), text
    assert re.search(r"\b(should|must) [a-z]+|[.?)] [A-Z`.]|; (write|use|give)", text), f"no remedy: {text}"
    return text


def refused(act, pattern):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        act()
    assert re.search(pattern, one_sentence(caught.value)), caught.value


def linear(classes=3, features=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def model(**more):
    return sp.TorchModel(linear(), **more)


def go(of=None, x=X, goal=Y, threat="linf:0.1", method=a.PGD(steps=3), **more):  # noqa: B008
    return sp.attack(model() if of is None else of, x, goal, threat, method, **more)


class Net(nn.Module):
    """A linear network whose logits are passed through a function of the input and the number of the call."""

    def __init__(self, change):
        super().__init__()
        self.net, self.change, self.calls = linear(), change, 0

    def forward(self, x):
        self.calls += 1
        return self.change(self.net(x), x, self.calls)


def odd(change):
    return sp.TorchModel(Net(change))


def throw(error):
    raise error


def at(row, value, x=X):
    x = x.clone()
    x[row, 1] = value
    return x


def labeled(function=lambda x: (x.sum(1) > 2).astype(int), returns="labels"):
    return sp.CallableModel(function, returns=returns)


def half(x):
    return np.full((len(x), 3), 0.5, np.float32)


def hop(of, **more):
    return go(of, threat="l2", method="HopSkipJump", **more)


def square(function, returns="logits"):
    return go(labeled(function, returns), method="Square")


def quiet(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


# -- what is refused ---------------------------------------------------------------------------------------------------

# fmt: off
INPUTS = [
    ("one example", lambda: go(x=X[0], goal=Y[:1]), r"shape \(4,\).*x\[None\]"),
    ("a number", lambda: go(x=0.5), r"shape \(\)"),
    ("features", lambda: go(x=torch.rand(6, 5)), r"batch of shape \(6, 5\).*shape the model was made for"),
    ("channels", lambda: go(model(mean=[0.1, 0.2, 0.3]), x=IMAGES), r"each of 1 channels; got 3"),
    ("no features", lambda: go(x=torch.zeros(6, 0)), r"without features: shape \(6, 0\)"),
    *((str(t), lambda t=t: go(x=(X * 255).to(t)), rf"{t}.*x\.float\(\) / 255") for t in (torch.uint8, torch.int64, torch.bool)),
    *((str(t), lambda t=t: go(x=X.to(t)), rf"{t}\. Cast it: x\.float\(\)") for t in (torch.float16, torch.bfloat16)),
    ("complex", lambda: go(x=X.to(torch.complex64)), r"complex64"),
    *((str(v), lambda v=v: go(x=at(2, v)), r"(NaN|infinity).* index 2\b") for v in (NAN, INF, -INF)),
    ("0 to 255", lambda: go(x=X * 255), r"\[0, 1\]; got values in \[.*2\d\d.*\]\. Scale x"),
    ("below", lambda: go(x=X - 0.5), r"\[0, 1\]; got values in \[-0\."),
    ("bounds of the model", lambda: go(model(bounds=(-1, 0.5))), r"\[-1, 0\.5\]"),
    ("meta", lambda: go(x=X.to("meta")), r"meta device"),
    ("sparse", lambda: go(x=X.to_sparse()), r"sparse_coo.*to_dense"),
    ("compressed", lambda: go(x=quiet(X.to_sparse_csr)), r"sparse_csr.*to_dense"),
    ("nested", lambda: go(x=torch.nested.nested_tensor([X[0], X[1]], layout=torch.jagged)), r"nested|jagged"),
    ("quantized", lambda: go(x=quiet(lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8))), r"dequantize"),
    *((f"a {type(v).__name__}", lambda v=v: go(x=v), rf"x must be .*got {type(v).__name__}") for v in ("images", None, {"x": X})),
    ("ragged", lambda: go(x=[[0.1, 0.2], [0.3]]), r"x must be .*got list"),
    ("objects", lambda: go(x=np.array([[None]])), r"x must be .*got ndarray"),
]
LABELS = [
    ("too large", lambda: go(goal=[0, 1, 2, 17, 1, 2]), r"Label 17 at index 3 .*3 classes, 0 to 2"),
    ("negative", lambda: go(goal=[0, 1, 2, 0, 1, -1]), r"Label -1 at index 5 "),
    ("negative, answers only", lambda: hop(labeled(), goal=-Y - 1), r"Label -1 at index 0"),
    ("floats", lambda: go(goal=Y.float()), r"float32.*y\.long\(\)"),
    ("bools", lambda: go(goal=Y > 0), r"torch\.bool"),
    ("complex", lambda: go(goal=Y.to(torch.complex64)), r"complex64"),
    ("one-hot", lambda: go(goal=torch.eye(3)[Y].long()), r"\(6, 3\).*argmax\(1\)"),
    ("too few", lambda: go(goal=Y[:4]), r"\(6,\).*got \(4,\)"),
    ("one number", lambda: go(goal=1), r"\(6,\).*got \(\)"),
    ("a column", lambda: go(goal=Y[:, None]), r"got \(6, 1\)"),
    ("None", lambda: go(goal=None), r"got None\. Pass y"),
    ("text", lambda: go(goal="cat"), r"got 'cat'\. Pass y"),
    ("texts", lambda: go(goal=["cat"] * 6), r"labels must be .*got list"),
    ("a class", lambda: go(goal=Untargeted), r"class Untargeted\. Write Untargeted\(\.\.\.\)"),
    ("inside a goal: text", lambda: go(goal=Untargeted("cat")), r"Labels must be .*got str"),
    ("inside a goal: too few", lambda: go(goal=Targeted(Y[:2])), r"\(6,\).*got \(2,\)"),
    ("inside a goal: range", lambda: go(goal=Targeted(Y + 3)), r"Label 3 at index 0"),
    ("confidence above 1", lambda: sp.ReduceConfidence(Y, 1.5), r"below .*got 1\.5"),
    ("confidence 0", lambda: sp.ReduceConfidence(Y, 0), r"below .*got 0"),
    ("confidence NaN", lambda: sp.ReduceConfidence(Y, NAN), r"below .*got nan"),
    ("confidence text", lambda: sp.ReduceConfidence(Y, "low"), r"below .*got 'low'"),
    ("goal needs scores", lambda: hop(labeled(), goal=sp.LeastLikely()), r"LeastLikely needs scores"),
    ("goal needs probabilities", lambda: hop(labeled(), goal=sp.ReduceConfidence(Y)), r"ReduceConfidence needs scores"),
    ("goal not pursued", lambda: go(goal=sp.ReduceConfidence(Y), threat="l2", method="ALMA"), r"ALMA pursues .*got ReduceConfidence"),
]
MODELS = [
    ("None", lambda: sp.attack(None, X, Y, "linf:0.1"), r"got None\."),
    ("a function", lambda: go(lambda x: x), r"got <function.*Wrap a function in CallableModel"),
    ("an estimator", lambda: go(LogisticRegression()), r"got LogisticRegression.*SklearnModel"),
    ("a class", lambda: go(nn.Linear), r"Linear"),
    ("one logit", lambda: go(odd(lambda z, x, k: z[:, :1])), r"got 1 logit.*torch\.cat\(\[-z, z\]"),
    ("wrong batch", lambda: go(odd(lambda z, x, k: z[:2])), r"shape \(6, classes\); got \(2, 3\)"),
    ("three axes", lambda: go(odd(lambda z, x, k: z[:, None])), r"got \(6, 1, 3\)"),
    ("answers", lambda: go(odd(lambda z, x, k: z.argmax(1))), r"got \(6,\)"),
    ("integers", lambda: go(odd(lambda z, x, k: z.long())), r"got torch\.int64\. Return its last"),
    ("complex", lambda: go(odd(lambda z, x, k: z * 1j)), r"complex64"),
    ("text", lambda: go(odd(lambda z, x, k: "cat")), r"returned str"),
    ("nothing", lambda: go(odd(lambda z, x, k: None)), r"returned NoneType"),
    ("an empty tuple", lambda: go(odd(lambda z, x, k: ())), r"returned tuple"),
    ("other keys", lambda: go(odd(lambda z, x, k: {"scores": z})), r"returned dict with keys \['scores'\]"),
    ("raises", lambda: go(odd(lambda z, x, k: throw(KeyError("w")))), r"KeyError: 'w'"),
    ("raises half-way", lambda: go(odd(lambda z, x, k: throw(OSError("gone")) if k > 2 else z)), r"OSError: gone"),
    ("raises at length", lambda: go(odd(lambda z, x, k: throw(ValueError("first\nsecond" + 900 * "!")))), r"ValueError: first"),
    ("not differentiable", lambda: go(odd(lambda z, x, k: nn.functional.one_hot(z.argmax(1), 3).float())), r"cannot be differentiated.*Square.*HopSkipJump"),
    ("detached", lambda: go(odd(lambda z, x, k: z.detach())), r"cannot be differentiated.*Square.*HopSkipJump"),
    ("no gradient mode", lambda: go(odd(torch.no_grad()(lambda z, x, k: linear()(x))), method="APGD"), r"cannot be differentiated"),
    ("constant", lambda: go(odd(lambda z, x, k: torch.zeros(len(x), 3)), threat="l2", method="DDN"), r"cannot be differentiated"),
    ("scores only", lambda: go(labeled(half, "logits")), r"PGD needs gradients.*scores only.*Square"),
    ("answers only", lambda: go(labeled()), r"PGD needs gradients.*labels only.*HopSkipJump"),
    ("answers only, Square", lambda: go(labeled(), method="Square"), r"Square needs scores.*labels only.*HopSkipJump"),
    ("answers only, Cascade", lambda: go(labeled(), method="Cascade"), r"Cascade needs gradients"),
    ("TorchModel of a class", lambda: sp.TorchModel(nn.Linear), r"Linear.*Write Linear\(\)"),
    ("TorchModel of a function", lambda: sp.TorchModel(lambda x: x), r"lambda.*CallableModel"),
    ("TorchModel of nothing", lambda: sp.TorchModel(None), r"got None"),
    *((f"bounds {b}", lambda b=b: model(bounds=b), re.escape(str(b)[:5] if isinstance(b, str | int) else "")) for b in
      ((1, 0), (0, 0), (0, INF), (-INF, 1), (NAN, 1), "ab", "12", 5, None, (0, 1, 2), (0,), (0, "one"), (0, 1j))),
    ("std 0", lambda: model(std=[0.1, 0.0, 0.2]), r"std .*above zero; got \[0\.1, 0\.0, 0\.2\]"),
    ("std negative", lambda: model(std=-1), r"std .*above zero; got \[-1"),
    ("std NaN", lambda: model(std=NAN), r"std .*finite; got nan"),
    ("mean infinite", lambda: model(mean=[0.0, INF]), r"mean .*finite; got \[0\.0, inf\]"),
    ("mean text", lambda: model(mean="0.5"), r"mean .*got '0\.5'"),
    ("std too long", lambda: go(model(std=[1, 2, 3]), x=torch.rand(6, 2, 2, 2)), r"each of 2 channels; got 3"),
    ("not callable", lambda: sp.CallableModel(5), r"got 5\."),
    ("returns", lambda: labeled(returns="probs"), r"'logits', 'probabilities' or 'labels'; got 'probs'"),
    ("function raises", lambda: square(lambda x: throw(ZeroDivisionError("b"))), r"ZeroDivisionError: b"),
    *((f"function: {type(v).__name__}", lambda v=v: hop(labeled(lambda x: v)), rf"must return numbers; got {type(v).__name__}")
      for v in (["cat"] * 6, None, {"labels": Y}, "cat")),
    ("function: ragged", lambda: square(lambda x: [[1.0], [1.0, 2.0]]), r"must return numbers; got list"),
    ("function: shape", lambda: square(lambda x: x.sum(1)), r"shape \(6, classes\); got \(6,\)"),
    ("function: scores for labels", lambda: hop(labeled(half)), r"labels of shape \(6,\); got \(6, 3\)"),
    ("function: float labels", lambda: hop(labeled(lambda x: x[:, 0])), r"integers; got torch\.float32"),
    ("function: one score", lambda: square(lambda x: half(x)[:, :1]), r"got 1 logit"),
    ("function: no probabilities", lambda: square(lambda x: half(x) * 3, "probabilities"), r"\[0, 1\]; got values in \[1\.5"),
    ("not fitted", lambda: sp.SklearnModel(LogisticRegression()), r"LogisticRegression without classes_\. Call LogisticRegression\.fit"),
    ("regressor", lambda: sp.SklearnModel(LinearRegression()), r"LinearRegression"),
    ("estimator class", lambda: sp.SklearnModel(LogisticRegression), r"LogisticRegression"),
    ("estimator of nothing", lambda: sp.SklearnModel(None), r"NoneType"),
    ("estimator features", lambda: go(sp.SklearnModel(LogisticRegression().fit(torch.rand(9, 7), np.arange(9) % 3)), method="Square"), r"\(6, 4\).*7 features"),
]
THREATS = [
    *((f"threat {t!s:.14}", lambda t=t: go(threat=t), p) for t, p in [
        ("linf:", r"linf:"), ("linf:abc", r"'abc'"), ("linf:-1", r"greater than or equal to 0; got '?-1"), ("linf:nan", r"nan"),
        ("linf:1/0", r"'1/0'"), ("lif:0.1", r"'lif'\. Did you mean 'Linf'"), ("", r"named ''"), ("linf", r"eps=inf.*linf:8/255"),
        ("linf:inf", r"eps=inf"), (0.3, r"got 0\.3"), (None, r"got None"), (("linf", 0.1), r"got \('linf', 0\.1\)"),
        (sp.Linf, r"Linf.*Write Linf\(eps\)"), (sp.L2(INF), r"L2\(eps=inf\)"), ("l0:2.5", r"whole number.*2\.5"),
        (torch.ones(30, 30), r"got tensor"),
    ]),
    ("colon without radius", lambda: go(threat="l2:", method=a.DDN(steps=2)), r"l2:"),
    ("wrong norm", lambda: go(threat="l0:3", method="Square"), r"Square searches Linf, L2, L1; got L0\(eps=3\.0\)"),
    ("not minimizable", lambda: go(threat="l1:0.3", method="DeepFool"), r"DeepFool searches L2, Linf; got L1"),
    *((f"Linf({e!r})", lambda e=e: sp.Linf(e), r"Linf\.eps .*" + re.escape(repr(e))) for e in (-1, NAN, "x", None, [0.1], "1/0", "")),
    ("no radius", lambda: sp.L2(), r"L2 needs 'eps'; write L2\(eps"),
    ("two radii", lambda: sp.L2(0.1, 0.2), r"L2.*0\.2"),
    ("radius by another name", lambda: sp.L1(radius=1), r"L1 has no field 'radius'.* eps"),
    ("L0 of a part", lambda: sp.L0(2.5), r"L0\.eps .*whole number.*2\.5"),
    ("L0 below zero", lambda: sp.L0(-1), r"L0\.eps .*-1"),
]
METHODS = [
    *((f"method {m!s:.8}", lambda m=m: go(method=m), p) for m, p in [
        ("PDG", r"'PDG'\. Did you mean 'PGD'"), ("", r"named ''"), (a.PGD, r"PGD.*Write PGD\(\)"), (None, r"got None"),
        (5, r"got 5"), (sp.Linf(0.1), r"Linf\(eps=0\.1\)"), (linear(), r"Sequential"),
    ]),
]
SETTINGS = [
    *((f"{k}={v!r:.20}", lambda k=k, v=v: go(**{k: v}), rf"{k} must be .*got {re.escape(repr(v))}") for k, v in [
        ("seed", "a"), ("seed", 1.5), ("seed", None), ("seed", True), ("batch", 0), ("batch", -1), ("batch", 2.5),
        ("batch", "auto"), ("batch", None), ("queries", 1), ("queries", 0), ("queries", "all"), ("queries", 10.0), ("stop", "never"),
    ]),
    ("ids too few", lambda: go(ids=torch.arange(4)), r"ids must be 6 integers.*\(4,\)"),
    ("ids floats", lambda: go(ids=torch.rand(6)), r"ids must be 6 integers.*float32"),
    ("ids a column", lambda: go(ids=torch.zeros(6, 1).long()), r"ids must be 6 integers.*\(6, 1\)"),
    ("ids text", lambda: go(ids=list("abcdef")), r"ids must be .*list"),
    ("ids complex", lambda: go(ids=torch.zeros(6, dtype=torch.complex64)), r"ids must be 6 integers.*complex64"),
    ("starts shape", lambda: go(starts=X[:2]), r"starts must have the shape of x, \(6, 4\); got \(2, 4\)"),
    ("starts bounds", lambda: go(starts=X * 255), r"starts .*\[0, 1\]"),
    ("starts NaN", lambda: go(starts=at(1, NAN)), r"starts .*NaN.*index 1"),
    ("starts type", lambda: go(starts=(X * 255).byte()), r"starts .*uint8"),
]
# fmt: on


# -- training, audits, files -------------------------------------------------------------------------------------------

DATA = (X.numpy(), Y.numpy())
SHAPE = SimpleNamespace(shape=(1, 8, 8), classes=tuple("012"))
MODULES = {
    "bad_input_syntax": "def f(:\n",
    "bad_input_raises": "raise RuntimeError('at import')\n",
    "bad_input_models": "import torch\nnumber = 5\ndef broken():\n    raise KeyError('k')\ndef needy(x):\n    return x\n"
    "def text():\n    return 'net'\ndef small():\n    return torch.nn.Linear(4, 2)\n",
}


class Data:
    """What a trainer needs, and nothing else."""

    def __init__(self, x=X, y=Y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def batch(self, indices):
        return self.x[indices], self.y[indices]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """The modules above can be imported, and runs go to a temporary folder."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("SADDLEPOINT_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


def fit(net=None, data=None, device="cpu", **fields):
    return sp.Trainer(epochs=1, **fields).fit(net or linear(), Data() if data is None else data, device=device)


# fmt: off
TRAINING = [
    *((f"{k}={v!r}", lambda k=k, v=v: sp.Trainer(**{k: v}), rf"Trainer\.{k} .*got {re.escape(repr(v))}") for k, v in [
        ("epochs", 0), ("batch", 0), ("learning_rate", 0), ("learning_rate", NAN), ("replays", 0), ("warmup", -1), ("attack", "PGD"),
        ("threat", "linf:0.1"), ("seed", "a"), ("attack", a.PGD)]),
    ("attack without threat", lambda: sp.Trainer(attack=a.PGD()), r"attack and a threat; got only one"),
    ("free with attack", lambda: sp.Trainer(attack=a.PGD(), threat=sp.Linf(0.1), replays=2), r"replays=2, needs a ball"),
    ("free without radius", lambda: sp.Trainer(threat=sp.L2(float("inf")), replays=2), r"replays=2, needs a ball with a radius"),
    ("free without ball", lambda: sp.Trainer(threat=sp.Spatial(), replays=2), r"replays=2, needs a ball with a radius"),
    ("threat without attack", lambda: sp.Trainer(threat=sp.Linf(0.1)), r"attack and a threat; got only one"),
    ("no data", lambda: fit(data=Data(X[:0], Y[:0])), r"0 examples"),
    ("a pair for data", lambda: fit(data=(X, Y)), r"tuple"),
    ("no network", lambda: fit(net=labeled()), r"CallableModel"),
    ("network of another shape", lambda: fit(net=linear(features=7)), r"batch of shape \(6, 4\)"),
    ("too few outputs", lambda: fit(net=linear(classes=2)), r"Label 2 .*2 classes"),
    ("no last iterate", lambda: fit(attack=a.Square(), threat=sp.Linf(0.1)), r"Square submits no last iterate"),
    ("no radius", lambda: fit(attack=a.PGD(), threat=sp.Linf(INF)), r"Linf\(eps=inf\)"),
    ("device", lambda: fit(device="warp"), r"warp"),
]
NAMED = [(t, lambda t=t: resolve(t, SHAPE), p) for t, p in [
    ("resnet18", r"'resnet18'.*package\.module:factory"), ("smal-cnn", r"Did you mean 'small-cnn'"), ("", r"named ''"),
    ("math:", r"'math:'"), (":f", r"':f'|''"), (".x:f", r"'\.x"), ("no_such_module:f", r"no_such_module"), ("math:f", r"'math' has no 'f'"),
    ("math:pi", r"math:pi is not a model but 3\.14"), ("torch.nn:Linear", r"torch\.nn:Linear\(\) failed: TypeError"), (5, r"got int"), (None, r"got NoneType"),
    ("bad_input_models:broken", r"KeyError: 'k'"), ("bad_input_models:needy", r"TypeError.*no arguments"), ("bad_input_models:text", r"got str"),
    ("bad_input_models:number", r"not a model but 5"), ("bad_input_syntax:f", r"bad_input_syntax"), ("bad_input_raises:f", r"at import"),
]]
AUDITS = [
    *((f"{k}={v!r:.9}", lambda k=k, v=v: plan(linear(), DATA, **{k: v}), p) for k, v, p in [
        ("preset", "fast", r"quick, standard, thorough; got 'fast'"), ("preset", None, r"got None"), ("limit", 0, r"limit .*got 0"),
        ("limit", -2, r"got -2"), ("limit", "ten", r"got 'ten'"), ("limit", 1.5, r"got 1\.5"), ("limit", True, r"got True"),
        ("batch", 0, r"batch .*got 0"), ("batch", "big", r"got 'big'"), ("batch", None, r"got None"), ("seed", "a", r"seed .*got 'a'"),
        ("threat", "l2", r"radius.*L2\(eps=inf\)"), ("threat", "linf:0", r"above zero; got Linf\(eps=0"), ("threat", "lif:1", r"Did you mean 'Linf'"),
        ("threat", sp.Linf, r"Write Linf\(eps\)"), ("attacks", ["PDG"], r"Did you mean 'PGD'"), ("attacks", [a.PGD], r"Write PGD\(\)"),
        ("attacks", "PGD", r"PGD"), ("device", "warp", r"warp"), ("queries", 1, r"queries .*got 1"), ("queries", "all", r"got 'all'"),
        ("bounds", (1, 0), r"\(1, 0\)"), ("std", [0.0], r"std .*0\.0")]),
    *((f"data {i}", lambda d=d: plan(model(), d), p) for i, (d, p) in enumerate([
        ("no-such-data", r"'no-such-data'"), (5, r"got int"), ((X, Y, Y), r"got tuple"), ((X, Y[:4]), r"6 examples; got shape \(4,\)"),
        ((X * 255, Y), r"\[0, 1\]"), ((at(2, NAN), Y), r"NaN.* index 2"), ((X, Y.float()), r"float32"), ((X[:0], Y[:0]), r"at least one"),
        ((X, None), r"y must be"), ((X, Y - 1), r"got -1 at index 0"), ((X.long(), Y), r"int64"), ("labels.csv", r"labels\.csv")])),
    ("fewer outputs than classes", lambda: plan(sp.TorchModel(linear(2)), DATA), r"3 classes .* 2 outputs"),
    ("no models", lambda: plan({}, DATA), r"\{\}|no model"),
    ("not a model", lambda: plan(5, DATA), r"got int"),
    ("one of two is not a model", lambda: plan({"a": model(), "b": "resnet18"}, DATA), r"resnet18"),
    ("one logit", lambda: plan(sp.TorchModel(linear(1)), DATA), r"1 logit"),
    ("shape", lambda: plan(sp.TorchModel(linear(features=9)), DATA), r"batch of shape \(1, 4\)"),
    ("no attack left", lambda: plan(labeled(), DATA, "l1:0.3"), r"labels"),
    ("weights without a model", lambda: plan(None, DATA, weights="w.pt"), r"without a model"),
    ("weights for a function", lambda: plan(labeled(), DATA, weights="w.pt"), r"got CallableModel"),
    ("weights missing", lambda: plan("bad_input_models:small", DATA, weights="w.pt"), r"no file .*w\.pt"),
    ("audit: a file for a folder", lambda: sp.audit(model(), DATA, attacks=["FGSM"], out="bad_input_syntax.py"), r"bad_input_syntax\.py"),
    ("audit: seconds", lambda: sp.audit(model(), DATA, attacks=["FGSM"], seconds="ten"), r"seconds .*'ten'"),
    ("audit: attack of another norm", lambda: sp.audit(model(), DATA, attacks=["DDN"]), r"DDN searches L2"),
]
# fmt: on


TABLES = {
    "input": INPUTS, "label": LABELS, "model": MODELS, "threat": THREATS, "method": METHODS, "setting": SETTINGS,
    "training": TRAINING, "name": NAMED, "audit": AUDITS,
}  # fmt: skip
CASES = [pytest.param(act, pattern, id=f"{what}: {name}") for what, cases in TABLES.items() for name, act, pattern in cases]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(("act", "pattern"), CASES)
def test_one_sentence(act, pattern):
    refused(act, pattern)


# -- what is accepted --------------------------------------------------------------------------------------------------


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def inferred():
    with torch.inference_mode():
        return X.clone()


ACCEPTED = {
    "strided": lambda: torch.stack([X, X], dim=2)[:, :, 1],
    "requires gradient": lambda: X.clone().requires_grad_(),
    "a parameter": lambda: nn.Parameter(X.clone()),
    "numpy, read only": lambda: read_only(X.numpy()),
    "numpy, strided": lambda: np.asfortranarray(X.numpy()),
    "made in inference mode": inferred,
}


def same(one, other):
    assert torch.equal(one.x_adv, other.x_adv)
    assert torch.equal(one.outcome, other.outcome)
    assert torch.equal(one.queries, other.queries)


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_inputs_in_another_form(name, kind):
    method, threat = ATTACKS[name]
    same(go(x=ACCEPTED[kind](), threat=threat, method=method), go(threat=threat, method=method))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_another_mode(mode):
    of = model()
    with mode():
        inside = go(of, x=X.clone(), goal=Y.clone())
    same(inside, go())


def test_more_forms_of_inputs_and_labels():
    expected = go()
    for y in (
        Y.tolist(),
        Y.numpy(),
        Y.int(),
        Y.byte(),
        tuple(Y.tolist()),
        Untargeted(Y),
        read_only(Y.numpy()),
        Y.numpy()[::1],
    ):
        same(go(goal=y), expected)
    same(go(x=X.tolist()), expected)
    same(go(x=X[:1].expand(6, 4)), go(x=X[:1].repeat(6, 1)))
    same(go(x=at(0, -1e-7)), go(x=at(0, 0.0)))
    same(go(ids=list(range(6))), expected)
    assert go(x=X.double()).x_adv.dtype is torch.float64
    function = sp.CallableModel(lambda x: read_only(half(x)))
    assert len(go(function, method=a.Square(steps=2))) == 6


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("of", ["network", "function", "estimator"])
def test_no_examples_and_one(name, of):
    method, threat = ATTACKS[name]
    made = {
        "network": model,
        "function": lambda: sp.CallableModel(lambda x: linear()(torch.from_numpy(x)).detach()),
        "estimator": lambda: sp.SklearnModel(LogisticRegression().fit(X, Y)),
    }[of]()
    if of != "network" and method.access is sp.Access.GRADIENTS:
        refused(lambda: go(made, x=X[:0], goal=Y[:0], threat=threat, method=method), f"{name} needs gradients")
        return
    for goal in (Y[:0], Targeted(Y[:0]), [], np.zeros(0, int)):
        result = go(made, x=X[:0], goal=goal, threat=threat, method=method)
        assert len(result) == 0
        assert result.x_adv.shape == (0, 4)
        assert (result.success_rate.n, result.robust_accuracy.n) == (0, 0)
        assert "empty" in repr(result)
    assert len(go(made, x=X[:1], goal=Y[:1], threat=threat, method=method)) == 1


# -- answers that are no numbers ---------------------------------------------------------------------------------------


def poisoned(value, where):
    """Logits that are, in the first class or in all, not finite: always, or anywhere but at the clean inputs."""

    def change(z, x, k):
        clean = (x[:, None] == X).all(2).any(1, keepdim=True) if where == "off the clean inputs" else False
        return torch.where(torch.as_tensor(clean), z, torch.full_like(z, value))

    return odd(change)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("where", ["always", "off the clean inputs"])
@pytest.mark.parametrize("name", [n for n in ATTACKS if n != "JSMA"])  # which may find no pair, and then asks nothing else
def test_neither_success_nor_robustness(name, where, value):
    method, threat = ATTACKS[name]
    of = poisoned(value, where)
    right = linear()(X).argmax(1) if where != "always" else Y
    for goal in (right, Targeted((right + 1) % 3)):
        result = go(of, goal=goal, threat=threat, method=method)
        assert result.rows(sp.Outcome.NONFINITE).all(), result
        assert result.success_rate.count == result.robust_accuracy.count == 0


def test_one_broken_row_does_not_spoil_the_others():
    of = odd(lambda z, x, k: torch.where(((x - X[2]).abs().amax(1) < 0.2)[:, None], z * NAN, z))
    result, clean = go(of, method=a.PGD(steps=5)), go(method=a.PGD(steps=5))
    assert result.outcome[2] == sp.Outcome.NONFINITE
    far = (X - X[2]).abs().amax(1) > 0.31
    assert far.sum() >= 3
    assert torch.equal(result.outcome[far], clean.outcome[far])
