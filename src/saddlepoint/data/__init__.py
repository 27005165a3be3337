"""Labeled examples: by name, from a folder of images, from a .npz file."""

from saddlepoint.data.dataset import Arrays as Arrays
from saddlepoint.data.dataset import DataSet as DataSet
from saddlepoint.data.dataset import picked as picked
from saddlepoint.data.named import load as load
from saddlepoint.data.named import names as names
