"""CatBoost."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from quorate.data.features import Matrix
from quorate.data.signature import Signature, TableSignature
from quorate.members.boosting import Boosting, BoostingParams, BoostingRows, boosting_cost
from quorate.members.learner import LearnerParams
from quorate.registry import MEMBERS
from quorate.registry.parameter_names import named

_MODEL = "model.json"
_MISSING = -1
"""Code of a missing or unknown category."""
_MOST_ONE_HOT = 255
"""Number of values that a categorical column has at most: 254 codes, and missing."""


# The defaults are those of CatBoost.
class CatboostParams(BoostingParams):
    kind: Literal["catboost"] = "catboost"
    depth: int = Field(6, ge=1, le=16, validation_alias=named("depth", "max_depth"))
    """Number of levels of a tree; all nodes of a level use the same split."""
    l2: float = Field(3.0, ge=0, validation_alias=named("l2", "l2_leaf_reg", "reg_lambda"))
    """L2 penalty on the leaf values."""
    one_hot: int = Field(2, ge=1, le=_MOST_ONE_HOT, validation_alias=named("one_hot", "one_hot_max_size"))
    """Maximum number of values of a categorical column whose values get one feature each; other columns become
    statistics of the classes of earlier rows. 255 covers every column and takes much less time."""

    def search_space(self) -> dict[str, Any]:
        return {
            **super().search_space(),
            "depth": "int(4, 8)",
            "l2": "log_uniform(1, 10)",
        }


@MEMBERS.register("catboost")
class Catboost(Boosting):
    """Symmetric boosted trees on ordered statistics of categories (Prokhorenkova et al., 2018); saved as JSON."""

    Params: ClassVar[type[LearnerParams]] = CatboostParams
    _content: bytes

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # Measured: a factor of 2 estimated .3 to .6 of the seconds on vehicle, dna and satellite, and 1.5 on soybean.
        # On Adult, a fold took 13 s with statistics of its eight categorical columns, and 2.3 s without any.
        categories = isinstance(signature, TableSignature) and signature.names("categorical")
        factor = 1 if n_classes == 2 and (params.one_hot == _MOST_ONE_HOT or not categories) else 4
        return factor * boosting_cost(params, size=signature.size, rows=rows, n_classes=n_classes)

    def boost(self, train: BoostingRows, held: BoostingRows | None, *, seed: int, threads: int) -> None:
        import catboost

        p, k = self.params, len(self.classes)
        fitted = catboost.CatBoost(
            {
                "loss_function": "MultiClass" if k > 2 else "Logloss",
                "iterations": p.iterations,
                "learning_rate": p.learning_rate,
                "depth": p.depth,
                "l2_leaf_reg": p.l2,
                "one_hot_max_size": p.one_hot,
                "random_seed": seed,
                "thread_count": threads,
                "task_type": "CPU",
                "allow_writing_files": False,
                "logging_level": "Silent",
                **({"early_stopping_rounds": p.patience} if held is not None else {}),
            }
        )
        rows = self._rows(train.x, train)
        fitted.fit(rows, eval_set=None if held is None else self._rows(held.x, held))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _MODEL
            fitted.save_model(str(path), format="json", pool=rows)
            self._content = path.read_bytes()
        # The JSON differs in the last bits of some numbers: use the saved model for predictions.
        self.model = _read(self._content)

    def model_proba(self, x: Matrix) -> NDArray[np.floating[Any]]:
        threads = max(1, int(self.params.cpus))
        proba: NDArray[np.float64] = self.model.predict(
            self._rows(x), prediction_type="Probability", thread_count=threads
        )
        return proba

    def write_booster(self, folder: Path) -> None:
        (folder / _MODEL).write_bytes(self._content)

    def read_booster(self, folder: Path) -> None:
        self._content = (folder / _MODEL).read_bytes()
        check_json(
            json.loads(self._content),
            numbers=self.features.width - len(self.categories),
            categories=len(self.categories),
            classes=len(self.classes),
        )
        self.model = _read(self._content)

    def _rows(self, x: Matrix, part: BoostingRows | None = None) -> Any:
        import catboost

        data: Any = x
        if self.categories:
            codes = np.nan_to_num(x, nan=_MISSING)[:, self.categories].astype(np.int64)
            numbers = pd.DataFrame(np.delete(x, self.categories, axis=1))
            data = pd.concat([numbers, pd.DataFrame(codes, columns=self.categories)], axis=1)
        return catboost.Pool(
            data,
            part and part.y,
            weight=part and part.weight,
            cat_features=self.categories or None,
            thread_count=max(1, int(self.params.cpus)),
        )


def _read(content: bytes) -> Any:
    import catboost

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _MODEL
        path.write_bytes(content)
        return catboost.CatBoost().load_model(str(path), format="json")


def check_json(content: Any, *, numbers: int, categories: int, classes: int) -> None:
    """Raise `ValueError` if a tree's leaves or splits do not match the model's inputs."""
    try:
        info, trees = content["features_info"], content["oblivious_trees"]
        statistics = [part for statistic in info.get("ctrs", ()) for part in statistic["elements"]]
        values = classes if classes > 2 else 1
        sound = (
            "trees" not in content
            and _are_sound(info.get("float_features", ()), own=numbers, all_of_them=numbers + categories)
            and _are_sound(info.get("categorical_features", ()), own=categories, all_of_them=numbers + categories)
            and all(0 <= part.get("cat_feature_index", 0) < categories for part in statistics)
            and all(_is_sound(tree, numbers=numbers, categories=categories, values=values) for tree in trees)
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the saved CatBoost model is inconsistent: {error!r}") from None
    if not sound:
        raise ValueError("the saved CatBoost model is inconsistent: a tree's leaves or features do not match")


def _are_sound(features: Any, *, own: int, all_of_them: int) -> bool:
    places = [feature["feature_index"] for feature in features]
    return places == list(range(own)) and all(0 <= feature["flat_feature_index"] < all_of_them for feature in features)


def _is_sound(tree: Any, *, numbers: int, categories: int, values: int) -> bool:
    splits = tree["splits"] or []
    below = {"FloatFeature": ("float_feature_index", numbers), "OneHotFeature": ("cat_feature_index", categories)}
    for split in splits:
        name, most = below.get(split["split_type"], ("", 1))
        if not 0 <= split.get(name, 0) < most:
            return False
    return len(splits) <= 16 and len(tree["leaf_values"]) == values << len(splits)
