"""Random forests."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sklearn.ensemble import RandomForestClassifier

from quorate.members.forest import Forest, ForestParams, Shape
from quorate.members.learner import LearnerParams
from quorate.registry import MEMBERS


class RandomForestParams(ForestParams):
    kind: Literal["random_forest"] = "random_forest"


@MEMBERS.register("random_forest")
class RandomForest(Forest):
    """Bagged trees with random features at each split (Breiman, 2001)."""

    Params: ClassVar[type[LearnerParams]] = RandomForestParams
    # Measured over five data sets: docs/defaults.md, Forests.
    shapes: ClassVar[tuple[Shape, ...]] = ((1, "sqrt"), (3, "sqrt"))

    def forest(self, **options: Any) -> Any:
        return RandomForestClassifier(**options)
