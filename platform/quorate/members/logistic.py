"""Multinomial logistic regression."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from quorate.data.dataset import Dataset
from quorate.data.features import Matrix
from quorate.data.signature import Signature
from quorate.data.weighting import Weights
from quorate.members.inner_validation import FOLDS, MANY_ROWS, InnerSplit, held_out_losses, inner_splits, mean_loss
from quorate.members.learner import Learner, LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named
from quorate.training.context import TaskContext

PENALTIES = tuple(float(10 ** (power / 2)) for power in range(-8, 5))
"""The values of `C` that `auto` tries: from 1e-4 to 100, two per factor of ten."""
SCIKIT_LEARNS = 1.0
"""scikit-learn's default of `C`."""
_SEARCH = 3.0
"""Cost of one inner fold's search, in fits on all rows. An assumption, not a measurement."""
_WORSE = 2
"""The search ends after this number of values in a row that do not lower the loss. An assumption, not a
measurement."""


# The default of `max_iter` is an assumption, not a measurement.
class LogisticParams(LearnerParams):
    kind: Literal["logistic"] = "logistic"
    C: Literal["auto"] | Annotated[float, Field(gt=0)] = 1.0
    """Inverse of the strength of the L2 penalty. The default is scikit-learn's. `auto` chooses it on held-out parts of
    the fold's training rows."""
    max_iter: int = Field(1000, ge=1, validation_alias=named("max_iter", "iterations", "epochs"))
    """Maximum number of L-BFGS steps."""

    def search_space(self) -> dict[str, Any]:
        return {"C": f"log_uniform({PENALTIES[0]:g}, {PENALTIES[-1]:g})"}


@MEMBERS.register("logistic")
class Logistic(Learner):
    """A linear model with softmax and L2 penalty, fitted by L-BFGS."""

    Params: ClassVar[type[LearnerParams]] = LogisticParams
    seeded: ClassVar[bool] = False

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None:
        super().__init__(params, signature=signature, n_classes=n_classes)
        self.penalty: float = SCIKIT_LEARNS if params.C == "auto" else params.C

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # 8,000 rows of 784 features and 10 classes took about 10 s on one core.
        once = 10 * rows / 8000 * signature.size / 784 * n_classes / 10
        return float(once * (1 + _SEARCH * (1 if rows >= MANY_ROWS else FOLDS)) if params.C == "auto" else once)

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        if self.params.C == "auto":
            seed = context.seed % 2**32
            splits = inner_splits(x, train, weight=weight, seed=seed, balanced=self.params.sampling is not None)
            self.chosen["C"] = self.penalty = self._chosen(splits, seed=seed)
        super().learn(x, train, weight=weight, context=context)

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        return LogisticRegression(C=self.penalty, max_iter=self.params.max_iter, random_state=seed)

    def _chosen(self, splits: tuple[InnerSplit, ...], *, seed: int) -> float:
        """Return the `C` with the lowest held-out loss; scikit-learn's default if no rows can be held out.

        It starts with the strongest penalty, which takes the fewest steps, and each fit starts from the one before.
        """
        if not splits:
            return SCIKIT_LEARNS
        losses: list[float] = []
        models = [LogisticRegression(max_iter=self.params.max_iter, random_state=seed, warm_start=True) for _ in splits]
        for penalty in PENALTIES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # the next value continues
                fitted = [
                    split.fit.fit(model.set_params(C=penalty)) for split, model in zip(splits, models, strict=True)
                ]
            losses.append(
                mean_loss(
                    held_out_losses(model.predict_proba(split.held.x), model.classes_, split.held)
                    for split, model in zip(splits, fitted, strict=True)
                )
            )
            if len(losses) - 1 - int(np.argmin(losses)) >= _WORSE:
                break
        return PENALTIES[int(np.argmin(losses))]
