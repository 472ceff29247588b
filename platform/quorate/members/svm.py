"""Support vector machines with calibrated probabilities."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC

from quorate.data.dataset import Dataset
from quorate.data.features import Matrix
from quorate.data.signature import Signature
from quorate.data.weighting import Weights
from quorate.members.inner_validation import FOLDS, MANY_ROWS, InnerSplit, inner_splits, losses_of, mean_loss
from quorate.members.learner import Learner, LearnerParams
from quorate.registry import MEMBERS
from quorate.training.context import TaskContext

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""The values of `C` that `auto` tries."""
SCIKIT_LEARNS = 1.0
"""scikit-learn's default of `C`."""


# `C` and `degree` have scikit-learn's defaults. The default of `calibration_folds` is an assumption, not a measurement.
class SvmParams(LearnerParams):
    kind: Literal["svm"] = "svm"
    C: Literal["auto"] | Annotated[float, Field(gt=0)] = 1.0
    """Inverse of the strength of the regularization: larger values fit the training rows more closely. The default is
    scikit-learn's. `auto` chooses it on held-out parts of the fold's training rows."""
    kernel: Literal["rbf", "linear", "poly", "sigmoid"] = "rbf"
    """Name of the kernel in scikit-learn."""
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)] = "scale"
    """Kernel coefficient; `scale` is 1 / (features x variance)."""
    degree: int = Field(3, ge=1, le=20)
    """Degree of the polynomial kernel."""
    calibration: Literal["sigmoid", "temperature"] = "sigmoid"
    """Method that calibrates the decision values of an inner cross-validation: `sigmoid` (Platt, 1999; one class
    against the rest), or `temperature` (one for all classes; Guo et al., 2017)."""
    calibration_folds: int = Field(3, ge=2, le=20)
    """Number of folds of the inner cross-validation; fewer if the rarest class is smaller."""

    def search_space(self) -> dict[str, Any]:
        # `scale` is 1 / (number of features) for standardized features: 1e-4 to 1 is meant for 1 to 10,000 of them
        return {
            "C": "log_uniform(0.01, 1000)",
            **({"gamma": "log_uniform(1e-4, 1)"} if self.kernel != "linear" else {}),
        }


@MEMBERS.register("svm")
class Svm(Learner):
    """scikit-learn's SVC; probabilities come from held-out decision values, not from libsvm."""

    Params: ClassVar[type[LearnerParams]] = SvmParams
    resamples: ClassVar[bool] = False
    seeded: ClassVar[bool] = False
    trusted: ClassVar[tuple[str, ...]] = (
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
    )

    def __init__(self, params: Any, *, signature: Signature, n_classes: int) -> None:
        super().__init__(params, signature=signature, n_classes=n_classes)
        self.strength: float = SCIKIT_LEARNS if params.C == "auto" else params.C

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # Quadratic in the rows: 8,000 rows of 784 features took about 9 s on one core. A row takes time also without
        # features: as much as 100 of them, measured on letter, satellite and dna (16, 36 and 180 features).
        once = 9 * (rows / 8000) ** 2 * (signature.size + 100) / 884
        tried = len(STRENGTHS) * (1 if rows >= MANY_ROWS else FOLDS) if params.C == "auto" else 0
        return float((params.calibration_folds + tried * (1 - 1 / FOLDS) ** 2) * once)

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        if self.params.C == "auto":
            seed = context.seed % 2**32
            self.strength = self._chosen(inner_splits(x, train, weight=weight, seed=seed), seed=seed)
            self.chosen["C"] = self.strength
        super().learn(x, train, weight=weight, context=context)

    def _chosen(self, splits: tuple[InnerSplit, ...], *, seed: int) -> float:
        """Return the `C` with the lowest held-out loss; scikit-learn's default if no rows can be held out."""
        if not splits:
            return SCIKIT_LEARNS
        return min(
            STRENGTHS, key=lambda strength: mean_loss(self._losses(strength, split, seed=seed) for split in splits)
        )

    def _losses(self, strength: float, split: InnerSplit, *, seed: int) -> NDArray[np.float64]:
        """Return the log-loss of each held-out row, with the decision values as logits at their best temperature."""
        machine = split.fit.fit(self._machine(strength, seed=seed))
        values = machine.decision_function(split.held.x)
        logits = values if values.ndim == 2 else np.column_stack([-values, values])
        y = np.searchsorted(machine.classes_, split.held.y)
        return losses_of(logits, y, split.held.weight, tempered=True)

    def _machine(self, strength: float, *, seed: int) -> SVC:
        p = self.params
        return SVC(C=strength, kernel=p.kernel, gamma=p.gamma, degree=p.degree, cache_size=500, random_state=seed)

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        p = self.params
        machine = self._machine(self.strength, seed=seed)
        folds = min(p.calibration_folds, int(np.bincount(y)[np.unique(y)].min()))
        if folds < 2:
            raise ValueError(
                "a class has only one training row in this fold, but the SVM's calibration requires two per class"
            )
        return CalibratedClassifierCV(machine, method=p.calibration, cv=folds, ensemble=False)

    def check(self) -> None:
        for calibrated in self.model.calibrated_classifiers_:
            machine = calibrated.estimator
            vectors = machine.support_vectors_.shape
            classes = len(machine.classes_)
            if vectors != (len(machine.support_), self.features.width) or machine._dual_coef_.shape != (
                classes - 1,
                vectors[0],
            ):
                raise ValueError(
                    "the saved SVM is inconsistent: the numbers of support vectors and coefficients differ"
                )
            if machine._intercept_.shape != (classes * (classes - 1) // 2,):
                raise ValueError("the saved SVM is inconsistent: it does not have one intercept per pair of classes")
            counts = machine._n_support
            if counts.shape != (classes,) or int(counts.sum()) != vectors[0] or (counts < 0).any():
                raise ValueError(
                    "the saved SVM is inconsistent: its counts of support vectors do not add up to their number"
                )
