"""Arrays from a .npz file."""

import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from saddlepoint.core.errors import InputError
from saddlepoint.data.dataset import Arrays, DataSet, Split


def from_npz(name: str, path: str, split: Split) -> DataSet:
    """The arrays "x" and "y" of a .npz file, or "x_<split>" and "y_<split>" if it has these of any split.

    Images (n, h, w, c) of 1 or 3 channels become (n, c, h, w), images (n, h, w) become (n, 1, h, w).

    Raises:
        InputError: the file cannot be read, keys are missing, or an array is not what `Arrays` takes.
    """
    # numpy leaves a damaged file open if it opened it itself.
    with _opened(path) as stream:
        x, y, classes = _read(stream, path, split)
    try:
        return Arrays(name, _channels_first(x), y, classes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}. Check who may read it.") from None


def _read(stream: BinaryIO, path: str, split: Split) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    try:
        file = np.load(stream, allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as .npz: {error}. Save it with numpy.savez(path, x=x, y=y).") from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path} holds a single array, not a .npz archive. Save it with numpy.savez(path, x=x, y=y).")
    is_split = any(f"{letter}_{part}" in file.files for letter in "xy" for part in ("train", "test"))
    keys = (f"x_{split}", f"y_{split}") if is_split else ("x", "y")
    missing = [key for key in keys if key not in file.files]
    if missing:
        raise InputError(
            f"{path} has no array {missing[0]!r}; its keys are {', '.join(file.files) or 'none'}. "
            "Save x and y, or x_train, y_train, x_test and y_test."
        )
    classes = _names(_member(file, "classes", path), path) if "classes" in file.files else None
    return _member(file, keys[0], path), _member(file, keys[1], path), classes


def _member(file: np.lib.npyio.NpzFile, key: str, path: str) -> np.ndarray:
    try:
        return np.asarray(file[key])
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"The array {key!r} of {path} cannot be read: {error}. Save it as plain numbers, without objects."
        ) from None


def _names(classes: np.ndarray, path: str) -> list[str]:
    try:
        return classes.astype(str).ravel().tolist()
    except UnicodeDecodeError:
        raise InputError(
            f"The array 'classes' of {path} has bytes that are not ASCII. Save it as numpy.array(['cat', 'dog'])."
        ) from None


def _channels_first(x: np.ndarray) -> np.ndarray:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return np.moveaxis(x, 3, 1)
    return x
