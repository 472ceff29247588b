"""k nearest neighbours."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.neighbors import KNeighborsClassifier

from quorate.data.signature import Signature
from quorate.members.learner import Learner, LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named


# The default of `neighbours` is an assumption, not a measurement.
class KnnParams(LearnerParams):
    kind: Literal["knn"] = "knn"
    neighbours: int = Field(15, ge=1, validation_alias=named("neighbours", "neighbors", "n_neighbors"))
    """Number of training rows that vote; limited to the number of rows in the fold."""
    votes: Literal["distance", "equal"] = "distance"
    """`distance` weights each vote by the inverse of the distance; `equal` weights all votes equally."""

    def search_space(self) -> dict[str, Any]:
        return {"neighbours": "log_int(1, 100)", "votes": ["distance", "equal"]}


@MEMBERS.register("knn")
class Knn(Learner):
    """Votes of the nearest training rows by Euclidean distance (Cover and Hart, 1967)."""

    Params: ClassVar[type[LearnerParams]] = KnnParams
    seeded: ClassVar[bool] = False
    weighs: ClassVar[bool] = False

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # Quadratic: computing the metrics compares all rows. .5 s for 3,600 of 784 features, 1.7 s for 16,000 of 14
        # columns.
        return float(0.01 + 2 * (rows / 8000) ** 2 * (0.2 + signature.size / 784))

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        weights = "uniform" if self.params.votes == "equal" else "distance"
        return KNeighborsClassifier(min(self.params.neighbours, len(y)), weights=weights, algorithm="brute")

    def check(self) -> None:
        model, rows = self.model, len(self.model._fit_X)
        labels = model._y
        if model._fit_X.shape[1:] != (self.features.width,) or labels.shape != (rows,):
            raise ValueError(
                "the saved nearest-neighbour model is inconsistent: its arrays differ in their numbers of rows"
            )
        if not 1 <= model.n_neighbors <= rows or not ((labels >= 0) & (labels < len(model.classes_))).all():
            raise ValueError(
                "the saved nearest-neighbour model is inconsistent: it refers to rows or classes that do not exist"
            )
