"""Code that forests share: parameters, costs, and the check of a loaded tree."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from quorate.data.features import Encoding
from quorate.data.signature import Signature
from quorate.data.standardize import Scheme
from quorate.members.learner import Learner, LearnerParams
from quorate.registry.parameter_names import named
from quorate.training.context import MemoryUse, Numerics


# `min_samples_leaf` has scikit-learn's default. The default of `trees` is an assumption, not a measurement.
class ForestParams(LearnerParams):
    """Parameters that all forests share."""

    standardize: Scheme = "none"
    """Trees do not need standardization."""
    trees: int = Field(300, ge=1, le=100_000, validation_alias=named("trees", "n_estimators"))
    """Number of trees."""
    max_depth: int | None = Field(None, ge=1)
    """Maximum depth of a tree; by default unlimited."""
    min_samples_leaf: int = Field(1, ge=1)
    """Minimum number of rows per leaf."""
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"
    """Number of features that are tried at each split: a rule, or a fraction of all features."""


class Forest(Learner):
    """Trees whose votes are averaged."""

    Params: ClassVar[type[LearnerParams]] = ForestParams
    encoding: ClassVar[Encoding] = "ordinal"
    trusted: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # 300 trees on 8,000 rows of 784 features took about 12 s on one core.
        features = float(np.sqrt(signature.size))
        return float(params.trees / 300 * 12 * rows * np.log2(rows) / (8000 * 13) * features / 28)

    @classmethod
    def memory_use(
        cls, params: Any, *, signature: Signature, rows: int, n_classes: int, numerics: Numerics
    ) -> MemoryUse:
        plain = super().memory_use(params, signature=signature, rows=rows, n_classes=n_classes, numerics=numerics)
        # A node has 64 bytes and a float64 for each class (sklearn.tree._tree). One node for two rows is an assumption.
        nodes = params.trees * rows / 2 / params.min_samples_leaf
        return MemoryUse(plain.node + int(nodes * (64 + 8 * n_classes)))

    def options(self, *, seed: int) -> dict[str, Any]:
        """Return the arguments of scikit-learn's forests."""
        p = self.params
        return {
            "n_estimators": p.trees,
            "max_depth": p.max_depth,
            "min_samples_leaf": p.min_samples_leaf,
            "max_features": p.max_features,
            "random_state": seed,
            "n_jobs": 1,  # more threads would add the trees' votes in a varying order
        }

    def check(self) -> None:
        features = self.features.width
        for tree in self.model.estimators_:
            check_tree(tree.tree_, features=features)


def check_tree(tree: Any, *, features: int) -> None:
    """Raise `ValueError` if following the tree's indices would leave its arrays or never end."""
    nodes = np.arange(tree.node_count)
    left, right = tree.children_left, tree.children_right
    leaf = left == -1
    inside = (left > nodes) & (left < tree.node_count) & (right > nodes) & (right < tree.node_count)
    split = (tree.feature >= 0) & (tree.feature < features)
    if tree.node_count < 1 or not ((leaf & (right == -1)) | (inside & split)).all():
        raise ValueError("the saved forest is inconsistent: a tree refers to nodes or features that do not exist")
