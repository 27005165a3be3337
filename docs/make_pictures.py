"""Draw the pictures of the documentation: docs/pictures/{threats,trace,rubbish,reach}.png and bench-*.png.

python docs/make_pictures.py

The network is the small one of tests/reference; the photograph, flower.jpg, comes with scikit-learn (CC BY 2.0).
"""

import json
from pathlib import Path

import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from torch import Tensor

import saddlepoint as sp
from saddlepoint.bench.cases import GROUPS
from saddlepoint.bench.picture import file_name, picture
from saddlepoint.core.noise import Noise
from saddlepoint.core.play import as_threat
from saddlepoint.models.zoo import SmallCNN
from saddlepoint.theory.picture import Frame, strip
from saddlepoint.theory.reach import reachable
from saddlepoint.theory.rubbish import fooling, gallery, rubbish
from saddlepoint.theory.trace import trace
from saddlepoint.threats import Parametric

HERE = Path(__file__).parent
SEEN = {
    "spatial:30,16": [("rotation 1", 1, 0, 0), ("rotation -1", -1, 0, 0), ("downward 1", 0, 1, 0), ("rightward 1", 0, 0, 1)],
    "color:0.2,0.5,90,1": [
        ("brightness 1", 1, 0, 0, 0), ("contrast -1", 0, -1, 0, 0), ("hue 1", 0, 0, 1, 0), ("saturation -1", 0, 0, 0, -1),
    ],
}  # fmt: skip
FLOWS = {"flow:16,1": 1, "flow:16,3": 2, "flow:8,8": 3, "flow:1": 4}


def flower() -> Tensor:
    """(1, 3, 96, 96) a photograph."""
    photograph = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None] / 255
    square = photograph[:, :, :420, 100:520]
    return torch.nn.functional.interpolate(square, size=(96, 96), mode="area")


def threats(path: Path) -> None:
    """One row a threat: the image, and what some parameters make of it."""
    x = flower()
    rows: list[tuple[str, list[Tensor], list[str]]] = []
    for text, seen in SEEN.items():
        thetas = [torch.tensor([theta]) for _, *theta in seen]
        threat = as_threat(text)
        rows.append((f'"{text}"', [threat.apply(x, theta.float()) for theta in thetas], [name for name, *_ in seen]))
    drawn = []
    for text, seed in FLOWS.items():
        threat = as_threat(text)
        assert isinstance(threat, Parametric)
        drawn.append(threat.apply(x, threat.start(x, Noise(seed, torch.arange(1)), (0.0, 1.0))))
    rows.append(("random flows", drawn, [f'"{text}"' for text in FLOWS]))
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    for axes, (title, images, labels) in zip(figure.subplots(len(rows), 1), rows, strict=True):
        strip(axes, torch.cat([x, *images]), (0.0, 1.0), ["clean", *labels], [Frame.NONE] * (len(images) + 1))
        axes.set_title(title, fontsize=10, loc="left", family="monospace")
    figure.savefig(path, dpi=110)


def benchmark(folder: Path) -> None:
    """One picture a group of cases, of what is in benchmarks/bench.json."""
    path = HERE.parent / "benchmarks" / "bench.json"
    report = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    for group in GROUPS:
        picture(report, group, folder / file_name(group))


def main() -> None:
    """Draw all."""
    out = HERE / "pictures"
    out.mkdir(exist_ok=True)
    threats(out / "threats.png")
    benchmark(out)
    tensors = load_file(HERE.parent / "tests" / "reference" / "cases" / "digits.safetensors")
    x, y = tensors.pop("case.x").float() / 255, tensors.pop("case.y")
    net = SmallCNN()
    net.load_state_dict(tensors)
    model = sp.TorchModel(net)
    index = int((y == 4).nonzero()[0])
    trace(model, x[[index]], y[[index]], eps=10).plot(out / "trace.png")
    reachable(model, x[:100], y[:100], "l0:3", "SparseRS").plot(out / "reach.png")
    found = rubbish(model, (1, 28, 28), samples=1000)
    gallery(out / "rubbish.png", found, fooling(model, (1, 28, 28), "linf:0.1", samples=5))
    print(*found, sep="\n")


if __name__ == "__main__":
    main()
