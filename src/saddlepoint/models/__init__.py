"""Classifiers of every kind behind one interface."""

from saddlepoint.models.callable import CallableModel as CallableModel
from saddlepoint.models.sklearn import SklearnModel as SklearnModel
from saddlepoint.models.torch import TorchModel as TorchModel
