"""Classifiers of every kind behind one interface."""

from saddlepoint.models.accelerated import Accelerated as Accelerated
from saddlepoint.models.callable import CallableModel as CallableModel
from saddlepoint.models.defended import Defended as Defended
from saddlepoint.models.ensemble import Ensemble as Ensemble
from saddlepoint.models.expectation import ExpectationOver as ExpectationOver
from saddlepoint.models.guarded import Guarded as Guarded
from saddlepoint.models.http import HTTPModel as HTTPModel
from saddlepoint.models.reparameterized import Reparameterized as Reparameterized
from saddlepoint.models.sklearn import SklearnModel as SklearnModel
from saddlepoint.models.torch import TorchModel as TorchModel
