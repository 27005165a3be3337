"""Fashion-MNIST from its four files on disk."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import InputError
from saddlepoint.data.dataset import Arrays, DataSet, Split

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
REMEDY = "Run apt-get install dataset-fashion-mnist, or write fashion-mnist:FOLDER for a folder with the four .gz files."


def fashion_mnist(folder: str | None, split: Split) -> DataSet:
    """Fashion-MNIST (Xiao et al., 2017), (1, 28, 28), from the IDX files of its authors.

    Args:
        folder: where the files are; by default $SADDLEPOINT_DATA/fashion-mnist, then the Debian package's folder.
        split: "train" or "test".

    Raises:
        InputError: there is no folder, a file is missing, or it is not what it should be.
    """
    place = _place(folder)
    stem = "train" if split == "train" else "t10k"
    images, labels = place / f"{stem}-images-idx3-ubyte.gz", place / f"{stem}-labels-idx1-ubyte.gz"
    x, y = read_idx(images, axes=3), read_idx(labels, axes=1)
    if x.shape[1:] != (28, 28):
        raise InputError(f"{images} has images of {x.shape[2]} x {x.shape[1]}; Fashion-MNIST has 28 x 28. {REMEDY}")
    name = "fashion-mnist" if folder is None else f"fashion-mnist:{folder}"
    try:
        return Arrays(name, x[:, None], y, CLASSES)
    except InputError as error:
        raise InputError(f"{images} and {labels.name} do not fit: {error}") from None


def _place(folder: str | None) -> Path:
    if folder is not None:
        tried = [Path(os.path.expanduser(folder))] if folder else []
    else:
        own = os.environ.get("SADDLEPOINT_DATA")
        tried = [*([Path(os.path.expanduser(own)) / "fashion-mnist"] if own else []), DEBIAN]
    for place in tried:
        if os.path.isdir(place):
            return place
    where = " or ".join(str(place) for place in tried) or "an empty path"
    raise InputError(f"There is no folder of Fashion-MNIST at {where}. {REMEDY}")


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Unsigned bytes of a gzipped IDX file with that many axes.

    Raises:
        InputError: the file is missing, is not such a file, or ends too early or too late.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} has no {path.name}. {REMEDY}")
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked: {error}. Fetch it again.") from None
    magic, head = bytes((0, 0, 8, axes)), 4 + 4 * axes
    if content[:4] != magic:
        raise InputError(
            f"{path} should begin with {magic.hex()}, the IDX magic number of bytes with {axes} axes; "
            f"got {content[:4].hex() or 'an empty file'}. Fetch it again."
        )
    if len(content) < head:
        raise InputError(f"{path} ends within its header of {head} bytes; got {len(content)}. Fetch it again.")
    shape = struct.unpack(f">{axes}I", content[4:head])
    size = math.prod(shape)
    if len(content) - head != size:
        raise InputError(f"{path} should hold {size} bytes, shape {shape}; got {len(content) - head}. Fetch it again.")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
