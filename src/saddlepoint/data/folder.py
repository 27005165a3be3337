"""Images on disk, one folder a class, decoded when they are asked for."""

import hashlib
import json
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import InputError
from saddlepoint.data.dataset import DataSet, Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
GRAY = ("1", "L", "LA")
COLOR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def image_folder(name: str, root: str, split: Split) -> "ImageFolder":
    """The images of `root`, or of its folder for the split if it has such folders.

    Classes are those of all splits, so that a label means the same in each.

    Raises:
        InputError: the split's folder is missing, or the images are not what `ImageFolder` takes.
    """
    parts = {part: _folders(os.path.join(root, part)) for part in _folders(root) if part in ("train", "test", "val")}
    parts = {part: inside for part, inside in parts.items() if inside}
    if not parts:
        return ImageFolder(name, root, _folders(root))
    wanted = ("train",) if split == "train" else ("test", "val")
    part = next((p for p in wanted if p in parts), None)
    if part is None:
        raise InputError(
            f"{root} is split into {' and '.join(parts)}, and has no {split} split. Add a folder {' or '.join(wanted)}, "
            f"or give {os.path.join(root, next(iter(parts)))} itself."
        )
    return ImageFolder(name, os.path.join(root, part), sorted(set().union(*parts.values())))


class ImageFolder(DataSet):
    """Images of one size, in `root/<class>/`; sorted by class, then by file name.

    All images are gray, (1, h, w), or, if any has color, all are RGB, (3, h, w). Transparency is dropped. Pixels are as
    stored, without the rotation that a camera notes, and of an animation only the first frame counts. Hidden files and
    files that are not images by their suffix are left out.

    Args:
        name: what to call it.
        root: the folder.
        classes: its subfolders; one may be missing or empty.

    Raises:
        InputError: there are no classes or images, an image cannot be read, or two differ in size.
    """

    def __init__(self, name: str, root: str, classes: list[str]) -> None:
        if not classes:
            raise InputError(
                f"{root} has no subfolders. Put the images of each class into a subfolder named after the class."
            )
        self.name = name
        self.root = root
        self.classes = tuple(classes)
        found = [(f"{folder}/{file}", label) for label, folder in enumerate(classes) for file in self._files(folder)]
        if not found:
            raise InputError(f"{root} has no images in its {len(classes)} subfolders. Images end in {', '.join(SUFFIXES)}.")
        self.files = [file for file, _ in found]
        self.y = torch.tensor([label for _, label in found])
        self.mode, self.size = self._scan()
        self.shape = (1 if self.mode == "L" else 3, self.size[1], self.size[0])

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        channels, height, width = self.shape
        pixels = np.empty((len(indices), height, width, channels), np.uint8)
        for row, index in enumerate(indices.tolist()):
            pixels[row] = self._pixels(self.files[index])
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return x.float().div_(255), self.y[indices]

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the class names and of the path, size and content of every image."""
        content = hashlib.sha256(json.dumps(self.classes).encode())
        for name in self.files:
            path = self._path(name)
            try:
                with open(path, "rb") as file:
                    inside = hashlib.file_digest(file, "sha256")
                    size = file.tell()
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}. Load the folder again.") from None
            content.update(f"{json.dumps(name)} {size} {inside.hexdigest()}\n".encode())
        return content.hexdigest()

    def _files(self, folder: str) -> list[str]:
        """Images of a class, sorted. A folder among them means that `root` is not what the user thinks it is."""
        place = os.path.join(self.root, folder)
        if not os.path.isdir(place):
            return []
        deeper = _folders(place)
        if deeper:
            raise InputError(
                f"The class folder {place} contains the folder {deeper[0]!r}. Put images right into the class folders; "
                "folders of splits are called train and test (or val)."
            )
        return [file for file in _entries(place) if file.lower().endswith(SUFFIXES)]

    def _scan(self) -> tuple[str, tuple[int, int]]:
        """The one mode and (width, height) of all images, from their headers."""
        mode, first = "L", None
        for name in self.files:
            size, own = self._header(name)
            first = first or size
            if size != first:
                a, b = self._path(self.files[0]), self._path(name)
                raise InputError(
                    f"All images must have one size; {a} is {first[0]} x {first[1]} and {b} is {size[0]} x {size[1]}. "
                    "Resize them, with PIL.ImageOps.fit for example."
                )
            if own not in GRAY + COLOR:
                raise InputError(
                    f"{self._path(name)} has pixels of mode {own!r}, not 8 bits a channel. Convert it to L or RGB."
                )
            mode = "RGB" if own in COLOR else mode
        assert first is not None
        return mode, first

    def _header(self, name: str) -> tuple[tuple[int, int], str]:
        from PIL import Image

        try:
            with Image.open(self._path(name)) as image:
                return image.size, image.mode
        except Exception as error:  # decoders raise whatever they like on a damaged file
            raise self._unreadable(name, error) from None

    def _pixels(self, name: str) -> np.ndarray:
        """(h, w, c) bytes."""
        from PIL import Image

        try:
            with Image.open(self._path(name)) as image:
                # A palette with transparency warns unless it goes through RGBA.
                full: Any = image.convert("RGBA") if image.mode in ("P", "PA") else image
                pixels = np.asarray(full.convert(self.mode))
        except Exception as error:  # decoders raise whatever they like on a damaged file
            raise self._unreadable(name, error) from None
        height, width = pixels.shape[:2]
        if (width, height) != self.size:
            raise InputError(
                f"{self._path(name)} has become {width} x {height}; it was {self.size[0]} x {self.size[1]}. "
                "Load the folder again."
            )
        return pixels.reshape(height, width, -1)

    def _path(self, name: str) -> str:
        return os.path.join(self.root, *name.split("/"))

    def _unreadable(self, name: str, error: Exception) -> InputError:
        return InputError(
            f"The image {self._path(name)} cannot be read ({type(error).__name__}: {error}). Remove or repair it."
        )


def _entries(place: str) -> list[str]:
    try:
        return sorted(entry for entry in os.listdir(place) if not entry.startswith("."))
    except OSError as error:
        raise InputError(f"The folder {place} cannot be read: {error.strerror}. Check who may read it.") from None


def _folders(place: str) -> list[str]:
    return [entry for entry in _entries(place) if os.path.isdir(os.path.join(place, entry))]
