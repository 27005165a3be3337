"""Weights that are trained once and read back afterwards."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from saddlepoint.core.config import digest
from saddlepoint.models.train import load_weights, save_weights


def root() -> Path:
    """Where runs and weights are kept: the environment variable SADDLEPOINT_DIR, or `runs` in the current folder."""
    return Path(os.environ.get("SADDLEPOINT_DIR", "runs"))


def kept(net: nn.Module, made_of: Any, fit: Callable[[], Any]) -> Path:
    """The file of weights of `net`: read into it, or else written after `fit()` has trained it in place.

    `made_of` is plain data, or records, of everything that the weights depend on; its digest names the file.
    """
    path = root() / "weights" / f"{digest(made_of)[:16]}.safetensors"
    if path.exists():
        load_weights(net, path)
        return path
    fit()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.safetensors")  # another process never sees half a file
    save_weights(net, beside)
    beside.replace(path)
    return path
