"""Multinomial logistic regression."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.linear_model import LogisticRegression

from quorate.data.signature import Signature
from quorate.members.learner import Learner, LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named


# The default of `max_iter` is an assumption, not a measurement.
class LogisticParams(LearnerParams):
    kind: Literal["logistic"] = "logistic"
    C: float = Field(1.0, gt=0)
    """Inverse of the strength of the L2 penalty. The default is scikit-learn's."""
    max_iter: int = Field(1000, ge=1, validation_alias=named("max_iter", "iterations", "epochs"))
    """Maximum number of L-BFGS steps."""


@MEMBERS.register("logistic")
class Logistic(Learner):
    """A linear model with softmax and L2 penalty, fitted by L-BFGS."""

    Params: ClassVar[type[LearnerParams]] = LogisticParams
    seeded: ClassVar[bool] = False

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # 8,000 rows of 784 features and 10 classes took about 10 s on one core.
        return float(10 * rows / 8000 * signature.size / 784 * n_classes / 10)

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        return LogisticRegression(C=self.params.C, max_iter=self.params.max_iter, random_state=seed)
