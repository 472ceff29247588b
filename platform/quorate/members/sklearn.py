"""Any classifier of scikit-learn, by the name of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator
from sklearn.base import is_classifier
from sklearn.utils.validation import has_fit_parameter

from quorate.data.dataset import Dataset
from quorate.data.features import Encoding, Matrix
from quorate.data.signature import Signature
from quorate.data.weighting import Weights
from quorate.errors import UserError
from quorate.members.estimator_recipe import CLASS, build
from quorate.members.learner import LearnerParams
from quorate.members.saved_learner import SavedLearner, check_savable
from quorate.registry import MEMBERS
from quorate.training.context import Hardware, Numerics, TaskContext


def _recipe(value: object) -> object:
    """Make a recipe without parameters from the path of a class."""
    return {CLASS: value} if isinstance(value, str) else value


class SklearnParams(LearnerParams):
    kind: Literal["sklearn"] = "sklearn"
    estimator: Annotated[dict[str, Any], BeforeValidator(_recipe, json_schema_input_type=str | dict[str, Any])]
    """The classifier: the path of its class (`sklearn.neural_network.MLPClassifier`), or a mapping with the key `class`
    and the parameters of the class; a parameter that is an estimator is also such a mapping."""
    encoding: Literal["onehot", "ordinal"] = "onehot"
    """How the categories of tables become numbers: columns of 0 and 1 (`onehot`), or one number per category
    (`ordinal`), which suits trees."""

    @model_validator(mode="after")
    def _is_a_classifier(self) -> SklearnParams:
        if not isinstance(self.estimator.get(CLASS), str):
            raise ValueError(
                "estimator: the key 'class' is missing; set it, e.g. to sklearn.neural_network.MLPClassifier"
            )
        if not is_classifier(build(self.estimator, seed=0)):
            raise ValueError(f"estimator: {self.estimator[CLASS]} is not a classifier")
        return self


_SAVABLE: set[str] = set()
"""Recipes whose estimator is known to be savable, so that a plan, which checks each fold, tries each recipe once."""


@MEMBERS.register("sklearn")
class Sklearn(SavedLearner):
    """A classifier of scikit-learn on standardized pixels or encoded columns, saved with skops."""

    Params: ClassVar[type[LearnerParams]] = SklearnParams
    version: ClassVar[int] = 1

    @property
    def encoding(self) -> Encoding:  # type: ignore[override]
        chosen: Encoding = self.params.encoding
        return chosen

    @classmethod
    def numerics(cls, params: Any, *, signature: Signature, rows: int, hardware: Hardware) -> Numerics:
        if params.class_weight is not None:
            _check_weighs(build(params.estimator, seed=0), params.estimator)
        recipe = repr(params.estimator)
        if recipe not in _SAVABLE:
            check_savable(build(params.estimator, seed=0), name=params.estimator[CLASS])
            _SAVABLE.add(recipe)
        return super().numerics(params, signature=signature, rows=rows, hardware=hardware)

    @classmethod
    def cost(cls, params: Any, *, signature: Signature, rows: int, n_classes: int) -> float:
        # An assumption: the cost of classifiers ranges over orders of magnitude. It only affects the order of the
        # queue.
        return float(1e-6 * rows * signature.size * n_classes)

    def estimator(self, *, seed: int, y: NDArray[np.int64]) -> Any:
        return build(self.params.estimator, seed=seed)

    def learn(self, x: Matrix, train: Dataset, *, weight: Weights | None, context: TaskContext) -> None:
        if weight is not None:
            _check_weighs(self.estimator(seed=0, y=train.y), self.params.estimator)
        super().learn(x, train, weight=weight, context=context)


def _check_weighs(estimator: Any, recipe: Mapping[str, Any]) -> None:
    if not has_fit_parameter(estimator, "sample_weight"):
        raise UserError(
            f"{recipe[CLASS]} cannot weight rows: its fit takes no sample_weight; leave out class_weight and the "
            "weights of the data, or use another classifier"
        )
