"""XGBoost, installed by the extra `boosting`."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quorate.data.features import Matrix
from quorate.data.signature import Signature
from quorate.members.boosting import Boosting, BoostingParams, BoostingRows, boosting_cost, both_classes
from quorate.members.learner import LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.extras import how_to_install_package
from quorate.registry.parameter_names import named

_MODEL = "model.json"


# The defaults are those of XGBoost.
class XgboostParams(BoostingParams):
    needs_package: ClassVar[str] = "xgboost"
    kind: Literal["xgboost"] = "xgboost"
    max_depth: int = Field(6, ge=1, le=30)
    """Maximum depth of a tree."""
    min_child_weight: float = Field(1.0, ge=0)
    """Minimum sum of the loss's second derivatives in a leaf, which XGBoost uses in place of a number of rows."""
    l2: float = Field(1.0, ge=0, validation_alias=named("l2", "lambda", "reg_lambda"))
    """L2 penalty on the leaf values."""
    rows: float = Field(1.0, gt=0, le=1, validation_alias=named("rows", "subsample"))
    """Fraction of the rows used for each tree."""
    columns: float = Field(1.0, gt=0, le=1, validation_alias=named("columns", "colsample_bytree"))
    """Fraction of the features used for each tree."""

    def search_space(self) -> dict[str, Any]:
        return {
            **super().search_space(),
            "max_depth": "int(3, 10)",
            "min_child_weight": "log_uniform(0.1, 10)",
            "l2": "log_uniform(0.01, 10)",
            "columns": "uniform(0.4, 1)",
            "rows": "uniform(0.5, 1)",
        }

    @model_validator(mode="after")
    def _package_is_there(self) -> XgboostParams:
        if importlib.util.find_spec(self.kind) is None:
            command = how_to_install_package(self.kind)
            raise ValueError(f"kind: {self.kind} requires the package {self.kind}; install it: {command}")
        return self


@MEMBERS.register("xgboost")
class Xgboost(Boosting):
    """Level-wise boosted trees (Chen and Guestrin, 2016); saved as XGBoost's JSON."""

    Params: ClassVar[type[LearnerParams]] = XgboostParams

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        return 0.8 * boosting_cost(params, size=signature.size, rows=rows, n_classes=n_classes)

    def boost(self, train: BoostingRows, held: BoostingRows | None, *, seed: int, threads: int) -> None:
        import xgboost

        p, k = self.params, len(self.classes)
        options = {
            **({"objective": "multi:softprob", "num_class": k} if k > 2 else {"objective": "binary:logistic"}),
            "eval_metric": "mlogloss" if k > 2 else "logloss",
            "tree_method": "hist",
            "device": "cpu",
            "eta": p.learning_rate,
            "max_depth": p.max_depth,
            "min_child_weight": p.min_child_weight,
            "lambda": p.l2,
            "subsample": p.rows,
            "colsample_bytree": p.columns,
            "seed": seed,
            "nthread": threads,
        }
        watching: dict[str, Any] = {}
        if held is not None:
            watching = {"evals": [(self._rows(held.x, held), "held")], "early_stopping_rounds": p.patience}
        rows = self._rows(train.x, train)
        self.model = xgboost.train(options, rows, num_boost_round=p.iterations, verbose_eval=False, **watching)
        if held is not None:
            self.model = self.model[: self.model.best_iteration + 1]

    def model_proba(self, x: Matrix) -> NDArray[np.floating[Any]]:
        return both_classes(self.model.predict(self._rows(x)))

    def write_booster(self, folder: Path) -> None:
        (folder / _MODEL).write_bytes(self.model.save_raw("json"))

    def read_booster(self, folder: Path) -> None:
        import xgboost

        content = (folder / _MODEL).read_bytes()
        check_json(json.loads(content), features=self.features.width, classes=len(self.classes))
        self.model = xgboost.Booster(params={"nthread": max(1, int(self.params.cpus))}, model_file=bytearray(content))

    def _rows(self, x: Matrix, part: BoostingRows | None = None) -> Any:
        import xgboost

        width, categories = self.features.width, len(self.features.cardinalities)
        return xgboost.DMatrix(
            x,
            label=part and part.y,
            weight=part and part.weight,
            feature_types=["q"] * (width - categories) + ["c"] * categories,
            enable_categorical=True,
            nthread=max(1, int(self.params.cpus)),
        )


def check_json(content: Any, *, features: int, classes: int) -> None:
    """Raise `ValueError` if following a tree's indices would leave its arrays or never end."""
    try:
        learner = content["learner"]
        booster, shape = learner["gradient_booster"], learner["learner_model_param"]
        groups = classes if classes > 2 else 1
        sound = (
            booster["name"] == "gbtree"
            and int(shape["num_feature"]) == features
            and max(1, int(shape["num_class"])) == groups
            and int(shape.get("num_target", 1)) == 1
            and _rounds_are_sound(booster["model"], groups=groups)
            and all(_is_sound(tree, features=features) for tree in booster["model"]["trees"])
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the saved XGBoost model is inconsistent: {error!r}") from None
    if not sound:
        raise ValueError(
            "the saved XGBoost model is inconsistent: a tree refers to nodes or features that do not exist"
        )


def _rounds_are_sound(model: Any, *, groups: int) -> bool:
    count, ends = len(model["trees"]), model["iteration_indptr"]
    rounds = all(before <= after for before, after in itertools.pairwise(ends))
    params = model["gbtree_model_param"]
    return bool(
        int(params["num_trees"]) == count == len(model["tree_info"])
        and int(params["num_parallel_tree"]) == 1
        and all(0 <= group < groups for group in model["tree_info"])
        and (ends[0], ends[-1]) == (0, count)
        and rounds
    )


def _is_sound(tree: Any, *, features: int) -> bool:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    at, nodes = np.arange(len(left)), len(left)
    per_node = ("right_children", "split_indices", "split_conditions", "split_type", "default_left", "base_weights")
    if nodes < 1 or any(len(tree[name]) != nodes for name in (*per_node, "parents", "sum_hessian", "loss_changes")):
        return False
    sizes = tree["tree_param"]
    if int(sizes["num_nodes"]) != nodes or int(sizes["num_feature"]) != features:
        return False
    feature, leaf = np.array(tree["split_indices"]), left == -1
    inside = (left > at) & (left < nodes) & (right > at) & (right < nodes) & (feature >= 0) & (feature < features)
    if not ((leaf & (right == -1)) | (~leaf & inside)).all():
        return False
    starts, lengths = np.array(tree["categories_segments"], int), np.array(tree["categories_sizes"], int)
    owners, members = np.array(tree["categories_nodes"], int), np.array(tree["categories"], int)
    if not len(starts) == len(lengths) == len(owners) or not np.isin(np.array(tree["split_type"]), (0, 1)).all():
        return False
    return bool(
        np.array_equal(owners, np.flatnonzero(np.array(tree["split_type"]) == 1))
        and ((starts >= 0) & (lengths >= 0) & (starts + lengths <= len(members))).all()
        and ((members >= 0) & (members < 1 << 16)).all()
    )
