"""Models by name: "package.module:factory", the networks of the zoo, web addresses, or objects as they are."""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

import torch
from torch import nn

from saddlepoint.core.errors import InputError
from saddlepoint.core.model import Model
from saddlepoint.core.registry import did_you_mean
from saddlepoint.models.cache import root
from saddlepoint.models.http import HTTPModel
from saddlepoint.models.torch import TorchModel
from saddlepoint.models.train import load_weights
from saddlepoint.models.zoo import SmallCNN

ZOO = {"small-cnn": SmallCNN}
HEADERS = "SADDLEPOINT_HTTP_HEADERS"
SETTINGS = (
    "returns",
    "classes",
    "encoding",
    "batch",
    "concurrency",
    "rate",
    "timeout",
    "retries",
    "backoff",
    "patience",
    "cache",
)
"""Of an HTTPModel, as the part of an address behind "#" gives them."""


class Data(Protocol):
    """What a network of the zoo is made for."""

    shape: tuple[int, ...]
    classes: tuple[str, ...]


def resolve(
    model: Any,
    data: Data,
    *,
    weights: str | Path | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """A Model of whatever a user names.

    Args:
        model: a Model, a torch module, "package.module:name" of one or of a function that makes one, a name of the zoo, or
            the address of a server (see `remote`).
        data: fixes the shape and classes of a network of the zoo.
        weights: loaded into the network.
        bounds: of the inputs; with `mean` and `std` used when the model is not a Model already.
        mean: subtracted from the inputs.
        std: divided by.
        device: where the network goes.

    Raises:
        InputError: nothing of that name, or not a model.
    """
    if is_address(model):
        if weights is not None or mean is not None or std is not None:
            raise InputError(f"{model} takes the inputs as they are, and no weights, mean or std. Leave them out.")
        return remote(model, data, bounds)
    if isinstance(model, str):
        model = _named(model, data)
    if isinstance(model, nn.Module):
        net = load_weights(model, weights) if weights is not None else model
        return TorchModel(net.to(device), bounds, mean, std)
    if isinstance(model, Model):
        if weights is not None and isinstance(model, TorchModel):
            load_weights(model.net, weights)
        elif weights is not None:
            raise InputError(f"Weights go into a torch network; got {type(model).__name__}. Leave them out.")
        return model
    raise InputError(
        f"The model must be a saddlepoint Model, a torch.nn.Module, or text that names one; got {type(model).__name__}. "
        "Wrap a function in CallableModel, an estimator in SklearnModel."
    )


def is_address(model: Any) -> bool:
    """Whether text names a model by the address of a server."""
    return isinstance(model, str) and model.casefold().startswith(("http://", "https://"))


def remote(address: str, data: Data, bounds: tuple[float, float] = (0.0, 1.0)) -> HTTPModel:
    """The model behind an address such as "http://host/predict#returns=labels&rate=5".

    What follows "#" are settings of the HTTPModel. Without `returns`, one gray input is asked about, and the answer shows
    what the server returns. `classes` are those of the data, `cache` is `answers.sqlite` where runs are kept ("cache=none"
    for none), and headers are read from the environment variable SADDLEPOINT_HTTP_HEADERS, a JSON object, so that no key
    appears in a record.
    """
    url, _, text = address.partition("#")
    settings: dict[str, Any] = {"classes": len(data.classes) or None, "cache": str(root() / "answers.sqlite")}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in SETTINGS:
            raise InputError(
                f"{name!r} is no setting of an address.{did_you_mean(name, SETTINGS)} It has {', '.join(SETTINGS)}."
            )
        settings[name] = value if name in ("returns", "encoding", "cache") else _number(name, value)
    if settings["cache"] == "none":
        settings["cache"] = None
    try:
        headers = json.loads(os.environ.get(HEADERS, "{}"))
        good = isinstance(headers, dict) and all(isinstance(v, str) for v in headers.values())
    except ValueError:
        good = False
    if not good:
        raise InputError(
            f'The environment variable {HEADERS} must be a JSON object of texts. Write \'{{"Name": "value"}}\'.'
        )
    model = HTTPModel(url, bounds, headers=headers, **settings)
    return model if "returns" in settings else model.probe(data.shape)


def _number(name: str, value: str) -> Any:
    try:
        return float(value) if name in ("rate", "timeout", "backoff", "patience") else int(value)
    except ValueError:
        raise InputError(f"{name} of an address must be a number; got {value!r}. Write {name}=10, say.") from None


def _named(name: str, data: Data) -> Any:
    if name in ZOO:
        if len(data.shape) != 3:
            raise InputError(f"{name} is for (c, h, w) images; the data has shape {data.shape}. Name another model.")
        return SmallCNN((data.shape[0], data.shape[1], data.shape[2]), len(data.classes))
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(
            f"There is no model named {name!r}.{did_you_mean(name, ZOO)} "
            f"Give package.module:factory, an address of http, or one of the zoo: {', '.join(ZOO)}."
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise InputError(
            f"The module {module!r} has no {attribute!r}. Name a network, or a function that makes one."
        ) from None
    except Exception as error:  # a user's module may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"Could not import {module!r} ({reason}). Run from the folder that contains it.") from error
    if isinstance(found, nn.Module | Model):
        return found
    if not callable(found):
        raise InputError(f"{name} is not a model but {found!r:.60}. Name a network, or a function that makes one.")
    try:
        return found()
    except Exception as error:
        raise InputError(f"{name}() failed: {type(error).__name__}: {error}. A factory takes no arguments.") from error
