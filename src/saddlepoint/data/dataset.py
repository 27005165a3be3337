"""Labeled examples by index, streamed, with a checksum."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import InputError

Split = Literal["train", "test"]
Indices = Sequence[int] | np.ndarray | Tensor


class DataSet(ABC):
    """Examples within `bounds`, and the class of each.

    Attributes:
        name: what `load` was given.
        classes: the name of class 0, of class 1, and so on.
        bounds: lowest and highest value that an example may have.
        shape: shape of one example, (c, h, w) for images.
    """

    name: str
    classes: tuple[str, ...]
    bounds: tuple[float, float] = (0.0, 1.0)
    shape: tuple[int, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """What `batch` returns, for indices (b,) that are checked: integers from 0 to n - 1."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the content: examples, labels and class names."""

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """Examples (b, *shape), float32 in [0, 1], and labels (b,), int64, in the order of the indices.

        Raises:
            InputError: an index is not an integer from 0 to n - 1, or a file cannot be read.
        """
        return self.read(self._checked(indices))

    def batches(self, size: int, indices: Indices | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Indices (b,), examples and labels of all examples, or of those at `indices`, in order, `size` at a time."""
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InputError(f"The size of a batch must be an integer of at least 1; got {size!r}. Write 256, say.")
        wanted = torch.arange(len(self)) if indices is None else self._checked(indices)
        parts = (wanted[start : start + size] for start in range(0, len(wanted), size))
        return ((part, *self.read(part)) for part in parts)

    def subset(self, indices: Indices) -> "DataSet":
        """A view of the examples at `indices`, in that order, numbered anew from 0."""
        wanted = self._checked(indices)
        return self if torch.equal(wanted, torch.arange(len(self))) else Subset(self, wanted)

    def _checked(self, indices: Any) -> Tensor:
        try:
            numbers = indices.cpu().numpy() if isinstance(indices, Tensor) else np.asarray(indices)
        except (TypeError, ValueError):
            raise InputError(
                f"Indices must be a list of integers; got {indices!r:.80}. Write [3] for one example."
            ) from None
        if numbers.shape == (0,):
            return torch.zeros(0, dtype=torch.int64)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise InputError(
                f"Indices must be a list of integers; got {numbers.dtype} of shape {numbers.shape}. "
                "Write [3] for one example, and mask.nonzero().flatten() for a mask."
            )
        wrong = (numbers < 0) | (numbers >= len(self))
        if wrong.any():
            raise InputError(
                f"{self.name} has the examples 0 to {len(self) - 1}; got index {numbers[wrong][0]}. Leave it out."
            )
        return torch.from_numpy(numbers.astype(np.int64))

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} examples of {self.shape}, {len(self.classes)} classes>"


class Arrays(DataSet):
    """Examples in memory; bytes stay bytes until they are asked for.

    Args:
        name: what to call it.
        x: (n, *shape), uint8 in 0 ... 255, or floats in [0, 1].
        y: (n,) integers, the index of each example's class.
        classes: class names; by default the numbers from 0 to the largest label.

    Raises:
        InputError: values, types or shapes are not these.
    """

    def __init__(self, name: str, x: Any, y: Any, classes: Sequence[str] | None = None) -> None:
        self.name = name
        self.x = _examples(x)
        self.y = _labels(y, len(self.x))
        self.shape = self.x.shape[1:]
        self.classes = _class_names(classes, int(self.y.max()))

    def __len__(self) -> int:
        return len(self.x)

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        rows = indices.numpy()
        x, y = torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows])
        return (x.float().div_(255) if x.dtype is torch.uint8 else x), y

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the bytes of examples and labels, their types and shapes, and the class names."""
        head = json.dumps([self.x.dtype.str, self.x.shape, self.classes])
        content = hashlib.sha256(head.encode())
        for array in (self.x, self.y):
            content.update(array.reshape(-1).view(np.uint8).data)
        return content.hexdigest()


class Subset(DataSet):
    """Some examples of another data set; `indices` (n,) says which."""

    whole: DataSet
    indices: Tensor

    def __init__(self, whole: DataSet, indices: Tensor) -> None:
        if isinstance(whole, Subset):
            self.whole, self.indices = whole.whole, whole.indices[indices]
        else:
            self.whole, self.indices = whole, indices
        self.name, self.classes, self.bounds, self.shape = whole.name, whole.classes, whole.bounds, whole.shape

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self.whole.read(self.indices[indices])

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the whole data set's digest and the indices."""
        content = hashlib.sha256(self.whole.digest().encode())
        content.update(self.indices.numpy().astype("<i8").tobytes())
        return content.hexdigest()


def picked(dataset: DataSet, limit: int | None, seed: int = 0) -> Tensor:
    """Sorted indices of `limit` examples drawn without replacement; of all if there are no more, or `limit` is None.

    With one seed, a larger limit keeps what a smaller one picked.

    Raises:
        InputError: limit is not a positive integer, or seed not an integer of at least 0.
    """
    for what, value, least in (("limit", limit, 1), ("seed", seed, 0)):
        if value is None and what == "limit":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(
                f"{what} must be an integer of at least {least}; got {value!r}. Write {what}={max(least, 1)}, say."
            )
    if limit is None or limit >= len(dataset):
        return torch.arange(len(dataset))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(dataset))
    return torch.from_numpy(np.sort(order[:limit]).astype(np.int64))


def _examples(x: Any) -> np.ndarray:
    """Bytes, or float32 in [0, 1], little-endian and contiguous."""
    x = _array(x, "x")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise InputError(
            f"x must be uint8 (0 to 255) or floats in [0, 1]; got {x.dtype}. If it holds bytes, use x.astype('uint8')."
        )
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"x must have shape (n, *shape) with at least one example and feature; got {x.shape}. Reshape it.")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    low, high = x.min(), x.max()
    if np.isnan(low):
        row = int(np.isnan(x).reshape(len(x), -1).any(axis=1).argmax())
        raise InputError(f"x contains NaN, first in the example at index {row}. Remove or repair it.")
    if low < -1e-6 or high > 1 + 1e-6:
        raise InputError(f"Floats in x must lie in [0, 1]; got values in [{low:.4g}, {high:.4g}]. Scale x, or store bytes.")
    return np.ascontiguousarray(x if low >= 0 and high <= 1 else x.clip(0, 1), dtype="<f4")


def _labels(y: Any, n: int) -> np.ndarray:
    y = _array(y, "y")
    if y.dtype.kind not in "iu":
        raise InputError(
            f"y must be integers, the index of each example's class; got {y.dtype}. Convert it: y.astype('int64')."
        )
    if y.shape != (n,):
        raise InputError(f"y must have one label for each of the {n} examples; got shape {y.shape}. Give shape ({n},).")
    if y.min() < 0:
        raise InputError(f"Labels must be at least 0; got {y.min()} at index {int(y.argmin())}. Number the classes from 0.")
    if y.max() >= 1_000_000:
        raise InputError(
            f"Labels must be below 1000000; got {y.max()} at index {int(y.argmax())}. Number the classes from 0."
        )
    return np.ascontiguousarray(y, dtype="<i8")


def _class_names(classes: Any, largest: int) -> tuple[str, ...]:
    if classes is None:
        return tuple(str(i) for i in range(largest + 1))
    named = tuple(str(c) for c in classes)
    if len(named) <= largest:
        raise InputError(
            f"There are {len(named)} class names, and a label is {largest}. Name at least {largest + 1} classes."
        )
    return named


def _array(value: Any, what: str) -> np.ndarray:
    try:
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.float() if value.is_floating_point() else value
            return value.numpy()
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} must be an array or tensor; got {type(value).__name__} ({error}). Give a dense array."
        ) from None
