"""A fitted scikit-learn classifier."""

from typing import Any

import numpy as np

from saddlepoint.core.errors import InputError
from saddlepoint.models.callable import CallableModel


class SklearnModel(CallableModel):
    """A fitted scikit-learn classifier, by its probabilities if it has them, else its decision function, else labels.

    Inputs of any shape are flattened to (b, features). Class i is `estimator.classes_[i]`.

    Args:
        estimator: the fitted classifier.
        bounds: lowest and highest value of a feature.

    Raises:
        InputError: it is not a fitted classifier.
    """

    def __init__(self, estimator: Any, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        if not hasattr(estimator, "predict") or not hasattr(estimator, "classes_"):
            name = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
            raise InputError(f"SklearnModel needs a fitted classifier; got {name} without classes_. Call {name}.fit(x, y).")
        self.estimator = estimator
        if hasattr(estimator, "predict_proba"):
            super().__init__(lambda x: estimator.predict_proba(x.reshape(len(x), -1)), bounds, "probabilities")
        elif hasattr(estimator, "decision_function") and getattr(estimator, "decision_function_shape", "") != "ovo":
            super().__init__(self._decision, bounds, "logits")
        else:
            super().__init__(self._number, bounds, "labels")

    def _decision(self, x: np.ndarray) -> np.ndarray:
        scores = self.estimator.decision_function(x.reshape(len(x), -1))
        return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores

    def _number(self, x: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.estimator.classes_, self.estimator.predict(x.reshape(len(x), -1)))
