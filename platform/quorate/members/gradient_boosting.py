"""Gradient boosting of scikit-learn, on histograms."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils.validation import check_array

from quorate.data.signature import Signature
from quorate.members.boosting import Boosting, BoostingParams, BoostingRows, boosting_cost
from quorate.members.learner import LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named


# The defaults are those of scikit-learn.
class GradientBoostingParams(BoostingParams):
    kind: Literal["gradient_boosting"] = "gradient_boosting"
    leaves: int = Field(31, ge=2, le=10_000, validation_alias=named("leaves", "max_leaf_nodes"))
    """Maximum number of leaves per tree."""
    min_samples_leaf: int = Field(20, ge=1)
    """Minimum number of rows per leaf."""
    l2: float = Field(0.0, ge=0, validation_alias=named("l2", "l2_regularization"))
    """L2 penalty on the leaf values."""
    max_features: float = Field(1.0, gt=0, le=1)
    """Fraction of the features that is tried at each split."""

    def search_space(self) -> dict[str, Any]:
        return {
            **super().search_space(),
            "leaves": "log_int(4, 128)",
            "min_samples_leaf": "log_int(2, 100)",
            "l2": "log_uniform(1e-3, 10)",
            "max_features": "uniform(0.2, 1)",
        }


@MEMBERS.register("gradient_boosting")
class GradientBoosting(Boosting):
    """scikit-learn's HistGradientBoostingClassifier; categories are split into sets."""

    Params: ClassVar[type[LearnerParams]] = GradientBoostingParams
    trusted: ClassVar[tuple[str, ...]] = (
        "functools.partial",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.utils.validation.check_array",
    )

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        return boosting_cost(params, size=signature.size, rows=rows, n_classes=n_classes)

    def boost(self, train: BoostingRows, held: BoostingRows | None, *, seed: int, threads: int) -> None:
        p = self.params
        self.model = HistGradientBoostingClassifier(
            learning_rate=p.learning_rate,
            max_iter=p.iterations,
            max_leaf_nodes=p.leaves,
            min_samples_leaf=p.min_samples_leaf,
            l2_regularization=p.l2,
            max_features=p.max_features,
            categorical_features=self.categories or None,
            early_stopping=held is not None,
            n_iter_no_change=p.patience or 1,
            random_state=seed,
        )
        watched: dict[str, Any] = {}
        if held is not None:
            watched = {"X_val": held.x, "y_val": held.y, "sample_weight_val": held.weight}
        # scikit-learn cannot bin a column with only missing values, which occurs if all its values are in the held-out
        # rows. Replacing them by any number makes it a constant column, which no tree splits.
        empty = np.isnan(train.x).all(axis=0)
        x = np.where(empty, np.float32(0), train.x) if empty.any() else train.x
        self.model.fit(x, train.y, sample_weight=train.weight, **watched)

    def check(self) -> None:
        check_boosting(self.model, width=self.features.width)


def check_boosting(model: HistGradientBoostingClassifier, *, width: int) -> None:
    """Raise `ValueError` if a loaded model for `width` columns is inconsistent and would crash the process."""
    _check_preparation(model, width=width)
    for k, categorical in enumerate(model._bin_mapper.is_categorical_):
        known = model._bin_mapper.bin_thresholds_[k]
        if categorical and not ((known >= 0) & (known < 256)).all():
            raise ValueError("the saved boosting is inconsistent: it has a category code above 255")
    trees = [tree for round_ in model._predictors for tree in round_]
    if any(len(round_) != len(model._baseline_prediction.T) for round_ in model._predictors):
        raise ValueError("the saved boosting is inconsistent: a round does not have one tree per class")
    for tree in trees:
        check_nodes(tree.nodes, tree.raw_left_cat_bitsets, features=width)


def _check_preparation(model: Any, *, width: int) -> None:
    """Check that the preprocessing is scikit-learn's own, and returns the number of columns that the trees use."""
    if model._preprocessor is not None:
        _, prepare, _ = model._preprocessor.transformers_[1]
        if not isinstance(prepare.func, functools.partial) or prepare.func.func is not check_array:
            raise ValueError("the saved boosting is inconsistent: scikit-learn did not prepare its columns")
    shape = np.shape(model._preprocess_X(np.zeros((1, width), np.float32), reset=False))
    flags = model._bin_mapper.is_categorical_
    if shape != (1, width) or np.shape(flags) != (width,) or len(model._bin_mapper.bin_thresholds_) != width:
        raise ValueError("the saved boosting is inconsistent: it was trained on other columns")


def check_nodes(nodes: NDArray[np.void], sets: NDArray[np.uint32], *, features: int) -> None:
    """Raise `ValueError` if following the tree's indices would leave its arrays or never end."""
    at = np.arange(len(nodes))
    children = [nodes[side].astype(np.int64) for side in ("left", "right")]
    inside = np.all([(at < child) & (child < len(nodes)) for child in children], axis=0)
    split = inside & (nodes["feature_idx"] >= 0) & (nodes["feature_idx"] < features)
    categories = (nodes["is_categorical"] == 0) | (nodes["bitset_idx"] < len(sets))
    if len(nodes) < 1 or sets.shape[1:] != (8,) or not ((nodes["is_leaf"] != 0) | (split & categories)).all():
        raise ValueError(
            "the saved boosting is inconsistent: a tree refers to nodes, features or category sets that do not exist"
        )
