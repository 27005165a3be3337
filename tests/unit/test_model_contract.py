"""Models are left as they were, whatever happens, and every kind of model is understood."""

import logging
import random
import warnings
from dataclasses import fields
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

import saddlepoint as sp
from saddlepoint import attacks as a
from saddlepoint.core.errors import ModelError
from saddlepoint.core.game import Stop

FEATURES, CLASSES, ROWS = 12, 3, 5
LABELS, ZEROS = torch.tensor([0, 1, 2, 0, 1]), torch.zeros(ROWS, dtype=torch.int64)
ATTACKS = {
    "FGSM": (a.FGSM(), "linf:0.05"),
    "PGD": (a.PGD(steps=4), "l2:0.2"),
    "APGD": (a.APGD(steps=5, targets=2), "linf:0.05"),
    "DDN": (a.DDN(steps=5), "l2"),
    "DeepFool": (a.DeepFool(steps=4), "l2"),
    "CarliniWagner": (a.CarliniWagner(steps=5, searches=2), "l2"),
    "JSMA": (a.JSMA(max_distortion=0.5), "l0"),
    "Square": (a.Square(steps=20), "linf:0.05"),
    "HopSkipJump": (a.HopSkipJump(steps=1, first_evaluations=10, attempts=30), "l2"),
    "OnePixel": (a.OnePixel(population=10, generations=2), "l0:1"),
}
each = pytest.mark.parametrize("name", ATTACKS)


@pytest.fixture(autouse=True)
def unchecked():
    """Without the type checker of these tests, which draws from `random` to look into lists."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Net(nn.Module):
    """Two layers with everything that has a state, and a fuse: forward pass number `fails_at` raises `error`."""

    def __init__(self, fails_at=None, error=None):
        super().__init__()
        self.flatten = nn.Flatten()
        self.first = nn.Linear(FEATURES, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(16, CLASSES)
        self.fails_at, self.error = fails_at, error or OSError("the plug was pulled")
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.error
        return self.last(self.drop(self.norm(self.first(self.flatten(x))).relu()))


def made(cls=Net, *args, mode="train", **kwargs):
    """A network with known parameters and statistics, in some mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = cls(*args, **kwargs)
        for parameter in net.parameters():
            parameter.data.copy_(torch.randn_like(parameter) * 0.6)
        if hasattr(net, "norm"):
            net.norm.running_mean.copy_(torch.randn(16) * 0.1)
            net.norm.running_var.copy_(torch.rand(16) + 0.5)
    net.train(mode != "eval")
    if mode == "mixture":
        net.norm.eval()
    return net


def examples(rows=ROWS, seed=1, shape=(FEATURES,)):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed))


def answers(net, x):
    model = sp.TorchModel(net)
    with model.session(), torch.no_grad():
        return model.labels(x)


def state(net):
    """Everything that an attack could change."""
    return {
        "modes": [m.training for m in net.modules()],
        "parameters": [(id(p), p.detach().clone(), p.requires_grad, p._version) for p in net.parameters()],
        "gradients": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in net.parameters()],
        "buffers": [(name, b.clone()) for name, b in net.named_buffers()],
        "hooks": [[list(v) for name, v in vars(m).items() if name.endswith("_hooks") and v] for m in net.modules()],
        "parameter hooks": [p._backward_hooks and list(p._backward_hooks) for p in net.parameters()],
        "modes of torch": (torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.get_default_dtype()),
        "settings": (torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()),
        "randomness": (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()),  # noqa: NPY002
    }


def same(before, after):
    if isinstance(before, torch.Tensor):
        return before.dtype is after.dtype and torch.equal(before, after)
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(same, before, after))
    return before == after


def unchanged(net, before):
    after = state(net)
    assert [key for key in before if not same(before[key], after[key])] == []


def equal(one, other):
    """Two results are the same, to the bit."""
    assert [f.name for f in fields(one) if not same(getattr(one, f.name), getattr(other, f.name))] == []


def run(net, name):
    (method, threat), x = ATTACKS[name], examples()
    return sp.attack(sp.TorchModel(net), x, answers(net, x), threat, method, stop=Stop.NEVER)


def worn(net):
    """A network with a history: some gradients, a frozen parameter, hooks."""
    net.first.weight.grad = torch.full_like(net.first.weight, 0.25)
    net.norm.bias.grad = torch.zeros_like(net.norm.bias)
    net.last.bias.requires_grad_(False)
    net.first.register_forward_hook(lambda *_: None)
    net.last.register_full_backward_hook(lambda *_: None)
    net.last.weight.register_hook(lambda g: g * 2)
    return net


@each
@pytest.mark.parametrize("mode", ["train", "eval", "mixture"])
def test_nothing_is_left_behind(name, mode):
    net = worn(made(mode=mode))
    before = state(net)
    run(net, name)
    unchanged(net, before)


@each
def test_nothing_is_left_behind_when_the_model_fails(name):
    method, threat = ATTACKS[name]
    x, counter = examples(), made()
    y = answers(made(), x)
    sp.attack(sp.TorchModel(counter), x, y, threat, method, stop=Stop.NEVER)
    total = counter.calls
    for at in sorted({1, 2, 3, total // 2, total - 1, total} & set(range(1, total + 1))):
        for mode in ("train", "mixture"):
            net = worn(made(mode=mode, fails_at=at))
            before = state(net)
            with pytest.raises(ModelError, match=r"The model failed on a batch of shape .*OSError: the plug was pulled\. "):
                sp.attack(sp.TorchModel(net), x, y, threat, method, stop=Stop.NEVER)
            assert net.calls == at
            unchanged(net, before)


def test_an_interrupt_goes_through_and_leaves_nothing_behind():
    net = worn(made(mode="mixture"))
    x = examples()
    y = answers(net, x)
    net.fails_at, net.error, before = net.calls + 3, KeyboardInterrupt(), state(net)
    with pytest.raises(KeyboardInterrupt):
        sp.attack(sp.TorchModel(net), x, y, "linf:0.05", a.PGD(steps=9), stop=Stop.NEVER)
    unchanged(net, before)


@each
def test_examples_and_labels_are_left_alone(name):
    x, y = examples().requires_grad_(), LABELS.clone()
    ids, starts = torch.tensor([4, 1, 7, 3, 9]), examples(seed=2)
    kept = x.detach().clone(), y.clone(), ids.clone(), starts.clone()
    method, threat = ATTACKS[name]
    result = sp.attack(sp.TorchModel(made()), x, y, threat, method, ids=ids, starts=starts)
    assert same(kept, (x.detach(), y, ids, starts))
    assert x.requires_grad
    assert x.grad is None
    assert not result.x_adv.requires_grad
    assert result.x_adv.data_ptr() != x.data_ptr()


@each
@pytest.mark.parametrize("mode", ["train", "mixture"])
def test_the_mode_handed_in_changes_nothing(name, mode):
    equal(run(made(mode=mode), name), run(made(mode="eval"), name))


class Counting(nn.Module):
    """A network that counts its calls in buffers, in both ways one can."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("in_place", torch.zeros(()))
        self.register_buffer("anew", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.in_place += 1
        self.anew = self.anew + 1
        return self.last(x)


def test_buffers_are_restored_however_they_were_changed():
    net = made(Counting)
    before = state(net)
    sp.attack(sp.TorchModel(net), examples(), ZEROS, "linf:0.05", a.PGD(steps=2))
    unchanged(net, before)


class Normalizing(nn.Module):
    """A network that scales its input itself, in place or not."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.last = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        x = x.sub_(0.5).mul_(3) if self.in_place else (x - 0.5) * 3
        return self.last(x)


@each
def test_a_model_that_overwrites_its_input_changes_nothing_else(name):
    method, threat = ATTACKS[name]
    x, y = examples(), LABELS
    one, other = (sp.TorchModel(made(Normalizing, in_place)) for in_place in (True, False))
    equal(*(sp.attack(of, x, y, threat, method, stop=Stop.NEVER) for of in (one, other)))


def test_a_function_that_overwrites_its_input_changes_nothing_else():
    weights = np.random.default_rng(0).standard_normal((FEATURES, CLASSES)).astype(np.float32)

    def overwriting(x):
        x -= 0.5
        return x @ weights

    results = [
        sp.attack(sp.CallableModel(function), examples(), LABELS, "linf:0.1", a.Square(steps=10))
        for function in (overwriting, lambda x: (x - np.float32(0.5)) @ weights)
    ]
    equal(*results)


def test_spectral_norm_does_not_move():
    net = nn.Sequential(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(FEATURES, CLASSES)))
    before = state(net)
    sp.attack(sp.TorchModel(net), examples(), ZEROS, "linf:0.05", a.PGD(steps=3))
    unchanged(net, before)


# -- what a module may return ------------------------------------------------------------------------------------------

OUTPUTS = {
    "tuple": lambda z: (z, "hidden"),
    "list": lambda z: [z],
    "dict": lambda z: {"loss": None, "logits": z},
    "object": lambda z: SimpleNamespace(logits=z),
}


class Answering(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = made(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("name", ["PGD", "Square", "HopSkipJump"])
def test_logits_are_found_in_what_is_returned(name, kind):
    equal(run(Answering(OUTPUTS[kind]), name), run(made(), name))


def test_a_hugging_face_model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        torch.manual_seed(0)
        net = ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=CLASSES, **sizes))
    net.train()
    before = state(net)
    x = examples(4, shape=(1, 8, 8))
    model = sp.TorchModel(net, mean=[0.5], std=[0.5])
    with model.session(), torch.no_grad():
        y = net((x - 0.5) / 0.5).logits.argmax(1)
    result = sp.attack(model, x, y, "linf:1", a.PGD(steps=10))
    assert torch.equal(result.clean, y)
    assert result.rows(sp.Outcome.FOUND, sp.Outcome.NOT_FOUND).all()
    assert (result.gradients > result.blank).all()
    unchanged(net, before)


@each
@pytest.mark.parametrize("net_type", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("x_type", [torch.float32, torch.float64])
def test_precisions(name, net_type, x_type):
    method, threat = ATTACKS[name]
    net, x = made().to(net_type), examples().to(x_type)
    result = sp.attack(sp.TorchModel(net), x, answers(net, x), threat, method, stop=Stop.NEVER)
    assert result.x_adv.dtype is result.size.dtype is x_type
    assert net.last.weight.dtype is net_type
    assert not result.rows(sp.Outcome.NONFINITE, sp.Outcome.ALREADY_WRONG).any()
    assert net_type.itemsize < 4 or not result.rows(sp.Outcome.ESCAPED).any()


@pytest.mark.parametrize(
    ("shape", "mean", "std"),
    [((FEATURES,), 0.4, 0.3), ((3, 2, 2), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), ((3, 2, 2), 0.5, torch.tensor(0.2))],
    ids=["a number", "one a channel", "a tensor"],
)
@pytest.mark.parametrize("name", ["PGD", "Square", "DeepFool"])
def test_normalization_inside_is_normalization_by_hand(name, shape, mean, std):
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = made()

        def forward(self, x):
            m, s = (torch.as_tensor(v, dtype=torch.float32).view(-1, *[1] * (x.dim() - 2)) for v in (mean, std))
            return self.net((x - m) / s)

    method, threat = ATTACKS[name]
    x, y = examples(shape=shape), LABELS
    inside = sp.attack(sp.TorchModel(made(), mean=mean, std=std), x, y, threat, method)
    equal(inside, sp.attack(sp.TorchModel(ByHand()), x, y, threat, method))


# -- scikit-learn ------------------------------------------------------------------------------------------------------


class LabelsOnly:
    """An estimator that gives nothing but its answer."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, x, y):
        self.inner.fit(x, y)
        self.classes_ = self.inner.classes_
        return self

    def predict(self, x):
        return self.inner.predict(x)


ESTIMATORS = {
    "LogisticRegression": LogisticRegression,
    "RandomForest": lambda: RandomForestClassifier(10, random_state=0),
    "SVC": SVC,
    "SVC one against one": lambda: SVC(decision_function_shape="ovo"),
    "Ridge": RidgeClassifier,
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "labels only": lambda: LabelsOnly(LogisticRegression()),
}
NAMES = {
    "numbers": [0, 1, 2, 3],
    "gaps": [2, 5, 9, 40],
    "below zero": [-7, -1, 0, 3],
    "text": ["bird", "cat", "dog", "eel"],
    "two": [0, 1],
    "two words": ["no", "yes"],
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_answer_by_class_number(estimator, names):
    generator = np.random.default_rng(0)
    numbers = np.arange(80) % len(NAMES[names])
    centers = generator.random((len(NAMES[names]), FEATURES))
    x = (centers[numbers] + 0.05 * generator.standard_normal((80, FEATURES))).clip(0, 1).astype(np.float32)
    fitted = ESTIMATORS[estimator]().fit(x, np.array(NAMES[names])[numbers])
    model = sp.SklearnModel(fitted)
    given = torch.from_numpy(x[:8]).view(8, 3, 2, 2)
    expected = np.searchsorted(fitted.classes_, fitted.predict(x[:8]))
    assert model.labels(given).tolist() == expected.tolist() == numbers[:8].tolist()
    if model.access is sp.Access.LABELS:
        result = sp.attack(model, given, numbers[:8], "l2", a.HopSkipJump(steps=1))
    else:
        assert model.logits(given).shape == (8, len(NAMES[names]))
        result = sp.attack(model, given, numbers[:8], "linf:1", a.Square(steps=300))
    assert result.clean.tolist() == numbers[:8].tolist()
    assert result.rows(sp.Outcome.FOUND).sum() >= 6, result
    won = result.rows(sp.Outcome.FOUND)
    again = np.searchsorted(fitted.classes_, fitted.predict(result.x_adv.view(8, -1).numpy()))
    assert (torch.from_numpy(again)[won] == result.answer[won]).all()
    assert (result.answer[won] != torch.from_numpy(numbers[:8])[won]).all()


# -- memory ------------------------------------------------------------------------------------------------------------

SHORTAGES = {
    "CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "Python": MemoryError("Unable to allocate 9 GiB for an array"),
}


class Fussy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, most, error):
        ctx.most, ctx.error = most, error
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) > ctx.most:
            raise ctx.error
        return gradient, None, None


class Cramped(Net):
    """A network with room for `most` rows, in the forward or in the backward pass."""

    def __init__(self, most, error, backward=False):
        super().__init__()
        self.most, self.shortage, self.backwards = most, error, backward

    def forward(self, x):
        if not self.backwards and len(x) > self.most:
            raise self.shortage
        return super().forward(Fussy.apply(x, self.most if self.backwards else len(x), self.shortage))


@pytest.mark.parametrize("name", ["PGD", "DDN", "Square", "HopSkipJump", "OnePixel"])
@pytest.mark.parametrize("error", SHORTAGES)
def test_when_memory_runs_out_the_batch_is_halved(name, error, caplog):
    method, threat = ATTACKS[name]
    x, y = examples(32), torch.arange(32) % CLASSES
    model = sp.TorchModel(made(Cramped, 8, SHORTAGES[error]))
    expected = sp.attack(model, x, y, threat, method, batch=8)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "saddlepoint"):
        equal(sp.attack(model, x, y, threat, method, batch=32), expected)
    assert "Out of memory with 32 rows: going on with 16." in caplog.text


@pytest.mark.parametrize("error", ["CPU", "GPU"])
def test_when_memory_runs_out_on_the_way_back(error):
    model = sp.TorchModel(made(Cramped, 8, SHORTAGES[error], backward=True))
    x, y = examples(32), torch.arange(32) % CLASSES
    one, other = (sp.attack(model, x, y, "linf:0.05", a.PGD(steps=3), batch=batch) for batch in (8, 32))
    equal(one, other)


def test_batches_that_do_not_halve_evenly():
    x, y = examples(13), torch.arange(13) % CLASSES
    models = (sp.TorchModel(made(Cramped, most, SHORTAGES["CPU"])) for most in (13, 2))
    one, other = (sp.attack(of, x, y, "linf:0.05", a.PGD(steps=3), stop=Stop.NEVER) for of in models)
    assert torch.allclose(one.x_adv, other.x_adv, rtol=0, atol=1e-5)
    assert torch.equal(one.outcome, other.outcome)


@pytest.mark.parametrize("error", SHORTAGES)
def test_one_row_that_does_not_fit(error):
    net = worn(made(Cramped, 0, SHORTAGES[error]))
    before = state(net)
    with pytest.raises(sp.SaddlepointError, match=r"Memory ran out on a batch of one example of shape \(12,\)\. Use a"):
        sp.attack(sp.TorchModel(net), examples(), ZEROS, "linf:0.05", a.PGD(steps=2))
    unchanged(net, before)


def test_a_function_that_runs_out_of_memory_is_halved_too():
    weights = torch.randn(FEATURES, CLASSES, generator=torch.Generator().manual_seed(0)).numpy()

    def function(x):
        if len(x) > 4:
            raise MemoryError("Unable to allocate 9 GiB for an array")
        return x @ weights

    x, y = examples(8), torch.arange(8) % CLASSES
    model = sp.CallableModel(function)
    one, other = (sp.attack(model, x, y, "linf:0.05", a.Square(steps=10), batch=batch) for batch in (4, 8))
    equal(one, other)


def test_a_plain_module_is_said_to_be_taken_as_it_is(caplog, monkeypatch):
    monkeypatch.setattr("saddlepoint.core.play._said", set())
    for _ in range(2):
        sp.attack(made(), examples(), ZEROS, "linf:0.05", a.FGSM())
    assert caplog.text.count("A plain torch module is taken to accept inputs in [0, 1].") == 1
