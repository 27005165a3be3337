"""Make magika, Google's classifier of file types, take a file for another by bytes appended to it.

python examples/file_types.py   (needs: pip install "saddlepoint[targets]")
"""

import inspect
import io
import json
import zipfile
from pathlib import Path

import magika
import numpy as np
import onnxruntime
import torch
from PIL import Image

import saddlepoint as sp
from saddlepoint.threats import Feature

BYTES = 8
folder = next((Path(magika.__file__).parent / "models").glob("standard_*"))
kinds = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
network = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
program = magika.Magika()


def files():
    """A few small files, made here."""
    yield "python", inspect.getsource(inspect).encode()[:3000]
    yield "json", json.dumps({"names": dir(np), "numbers": list(range(200))}, indent=1).encode()
    picture, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)).save(picture, "png")
    yield "png", picture.getvalue()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("notes.txt"), "some text in an archive")  # of 1980, whenever it is made
    yield "zip", archive.getvalue()


def tokens(content):
    """What magika's network reads: the first and the last 1024 bytes after and before white space, padded with 256."""
    first, last = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    return [*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last]


def scores(content):
    """A model of the bytes that are appended to `content`: probabilities, from the network itself."""

    def ask(rows):
        read = [tokens(content + bytes(row.astype(np.uint8))) for row in rows]
        return network.run(None, {"bytes": np.array(read, np.int32)})[0]

    return sp.CallableModel(ask, (0, 255), "probabilities")


def answers(content):
    """The same through the program's own door, which tells the type alone."""

    def ask(rows):
        return [kinds.index(program.identify_bytes(content + bytes(row.astype(np.uint8))).dl.label) for row in rows]

    return sp.CallableModel(ask, (0, 255), "labels")


if __name__ == "__main__":
    x = torch.full((1, BYTES), float(ord(" ")))  # white space, which magika strips off the end
    threat = sp.Tabular(BYTES, "l0", features=[Feature(f"byte {i}", 0, 255, integer=True) for i in range(BYTES)])
    for made, attack in ((scores, sp.attacks.FeatureSearch(steps=12)), (answers, sp.attacks.RandomSearch(candidates=20))):
        won = asked = 0
        for kind, content in files():
            result = sp.attack(made(content), x, torch.tensor([kinds.index(kind)]), threat, attack)
            shown = program.identify_bytes(content + bytes(result.x_adv[0].int().tolist())).output.label
            print(f"{type(attack).__name__}: after {int(result.queries)} questions, magika takes {kind} for {shown}")
            won, asked = won + int(result.success_rate.count), asked + int(result.queries)
        print(f"{type(attack).__name__}, {BYTES} bytes appended: {won} of 4 files, {asked} questions in all")
