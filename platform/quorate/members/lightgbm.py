"""LightGBM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quorate.data.features import Matrix
from quorate.data.signature import Signature
from quorate.members.boosting import Boosting, BoostingParams, BoostingRows, boosting_cost, both_classes
from quorate.members.learner import LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named

_MODEL = "model.txt"


# The defaults are those of LightGBM.
class LightgbmParams(BoostingParams):
    kind: Literal["lightgbm"] = "lightgbm"
    leaves: int = Field(31, ge=2, le=10_000, validation_alias=named("leaves", "num_leaves"))
    """Maximum number of leaves per tree."""
    min_samples_leaf: int = Field(
        20, ge=1, validation_alias=named("min_samples_leaf", "min_data_in_leaf", "min_child_samples")
    )
    """Minimum number of rows per leaf."""
    l2: float = Field(0.0, ge=0, validation_alias=named("l2", "lambda_l2", "reg_lambda"))
    """L2 penalty on the leaf values."""
    rows: float = Field(1.0, gt=0, le=1, validation_alias=named("rows", "bagging_fraction", "subsample"))
    """Fraction of the rows used for each tree."""
    columns: float = Field(1.0, gt=0, le=1, validation_alias=named("columns", "feature_fraction", "colsample_bytree"))
    """Fraction of the features used for each tree."""
    random_thresholds: bool = Field(False, validation_alias=named("random_thresholds", "extra_trees"))
    """Whether each split uses the best of random thresholds, one per feature, instead of the best of all."""

    def search_space(self) -> dict[str, Any]:
        return {
            **super().search_space(),
            "leaves": "log_int(4, 256)",
            "min_samples_leaf": "log_int(2, 100)",
            "l2": "log_uniform(1e-3, 10)",
            "columns": "uniform(0.4, 1)",
            "random_thresholds": [False, True],
        }


@MEMBERS.register("lightgbm")
class Lightgbm(Boosting):
    """Leaf-wise boosted trees (Ke et al., 2017); saved in LightGBM's text format."""

    Params: ClassVar[type[LearnerParams]] = LightgbmParams

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        return 0.8 * boosting_cost(params, size=signature.size, rows=rows, n_classes=n_classes)

    def boost(self, train: BoostingRows, held: BoostingRows | None, *, seed: int, threads: int) -> None:
        import lightgbm

        p, k = self.params, len(self.classes)
        options = {
            **({"objective": "multiclass", "num_class": k} if k > 2 else {"objective": "binary"}),
            "learning_rate": p.learning_rate,
            "num_leaves": p.leaves,
            "min_data_in_leaf": p.min_samples_leaf,
            "lambda_l2": p.l2,
            "bagging_fraction": p.rows,
            "bagging_freq": int(p.rows < 1),
            "feature_fraction": p.columns,
            "extra_trees": p.random_thresholds,
            "seed": seed,
            "num_threads": threads,
            "deterministic": True,
            # otherwise it times two methods and uses the faster one; their results differ in the last bits
            "force_row_wise": True,
            "verbosity": -1,
        }

        def rows(part: BoostingRows) -> lightgbm.Dataset:
            return lightgbm.Dataset(
                part.x, part.y, weight=part.weight, categorical_feature=self.categories, params=options
            )

        watching: dict[str, Any] = {}
        if held is not None:
            stop = lightgbm.early_stopping(p.patience, verbose=False)
            watching = {"valid_sets": [rows(held)], "callbacks": [stop]}
        self.model = lightgbm.train(options, rows(train), num_boost_round=p.iterations, **watching)

    def model_proba(self, x: Matrix) -> NDArray[np.floating[Any]]:
        return both_classes(self.model.predict(x, num_threads=max(1, int(self.params.cpus))))

    def write_booster(self, folder: Path) -> None:
        (folder / _MODEL).write_text(self.model.model_to_string(), encoding="utf-8")

    def read_booster(self, folder: Path) -> None:
        import lightgbm

        text = (folder / _MODEL).read_text(encoding="utf-8")
        check_text(text, features=self.features.width, classes=len(self.classes))
        self.model = lightgbm.Booster(model_str=text)


def check_text(text: str, *, features: int, classes: int) -> None:
    """Raise `ValueError` if following a tree's indices would leave its arrays or never end."""
    trees = text.split("end of trees")[0].split("\nTree=")
    head, *bodies = [dict(line.split("=", 1) for line in tree.splitlines() if "=" in line) for tree in trees]
    per_round = classes if classes > 2 else 1
    expected = {"num_class": per_round, "num_tree_per_iteration": per_round, "max_feature_idx": features - 1}
    wrong = any(head.get(name) != str(value) for name, value in expected.items())
    if wrong or not all(_is_sound(body, features=features) for body in bodies):
        raise ValueError(
            "the saved LightGBM model is inconsistent: a tree refers to nodes or features that do not exist"
        )


def _is_sound(tree: dict[str, str], *, features: int) -> bool:
    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(tree.get(name, "").split(), np.float64)

    leaves = int(tree["num_leaves"])
    at = np.arange(leaves - 1)
    if len(numbers("leaf_value")) != leaves or tree.get("is_linear", "0") != "0":
        return False
    arrays = {name: numbers(name) for name in ("left_child", "right_child", "split_feature", "threshold")}
    if leaves > 1 and any(len(array) != leaves - 1 for array in (*arrays.values(), numbers("decision_type"))):
        return False
    if leaves == 1:
        return True
    for side in ("left_child", "right_child"):
        child = arrays[side]
        if not (((child > at) & (child < leaves - 1)) | ((child < 0) & (child >= -leaves))).all():
            return False
    sets, words = numbers("cat_boundaries"), len(numbers("cat_threshold"))
    if len(sets) and (len(sets) != int(tree["num_cat"]) + 1 or (np.diff(sets) < 0).any()):
        return False
    if len(sets) and (sets[0] != 0 or sets[-1] != words):
        return False
    categorical = numbers("decision_type").astype(np.int64) & 1 == 1
    which = arrays["threshold"][categorical]
    inside = (which >= 0) & (which < max(len(sets) - 1, 0))
    return bool(inside.all() and ((arrays["split_feature"] >= 0) & (arrays["split_feature"] < features)).all())
