"""Load a scikit-learn classifier of a user's own kind without the user's code; only scikit-learn's types are
trusted."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.tree import BaseDecisionTree
from threadpoolctl import threadpool_limits

from quorate.errors import UserError
from quorate.members.backbone_features import load_any_features
from quorate.members.base import read_header
from quorate.members.forest import check_tree
from quorate.members.gradient_boosting import check_boosting
from quorate.members.learner import MODEL, Learner

LOADER = "learner"
"""Name of this module in a member's header."""

_KERNELS = (
    "CompoundKernel",
    "ConstantKernel",
    "DotProduct",
    "ExpSineSquared",
    "Exponentiation",
    "Matern",
    "Product",
    "RBF",
    "RationalQuadratic",
    "Sum",
    "WhiteKernel",
)
_TRUSTED = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)
"""Types in estimators, in addition to those that skops trusts; limited to types that `check` can validate."""


_TRIAL_ROWS, _TRIAL_COLUMNS, TRIAL_CLASSES = 60, 8, 3
"""Number of rows, columns and classes of the random table that a trial fit uses. Assumptions, not measurements."""
_TRIAL_PARAMS = {"n_estimators": 2, "max_iter": 2, "n_jobs": 1}
"""Maximum numbers of trees, rounds and processes in a trial fit. They keep it short and do not change the types in a
bundle."""
_SEARCH_TREES = ("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree")
"""Types that are rejected because their compiled code follows indices without a check."""
_BRUTE = "set its algorithm to brute, which searches without a tree"
_OTHER_WAYS = (
    "list the classes to trust in the attribute `trusted` of your own function or class, or build the model from "
    "scikit-learn's own parts"
)


class SavedLearner(Learner):
    """A fitted classifier that can only predict."""

    trusted: ClassVar[tuple[str, ...]] = _TRUSTED

    def check(self) -> None:
        for part in _parts(self.model, set()):
            if isinstance(part, BaseForest | BaseGradientBoosting) and hasattr(part, "estimators_"):
                for tree in np.ravel(np.asarray(part.estimators_, dtype=object)):
                    check_tree(tree.tree_, features=int(part.n_features_in_))
            elif isinstance(part, HistGradientBoostingClassifier) and hasattr(part, "_predictors"):
                check_boosting(part, width=int(part.n_features_in_))
            elif isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):  # a forest's pattern has none
                check_tree(part.tree_, features=int(part.n_features_in_))


def load(folder: Path) -> SavedLearner:
    """Load what `Learner.save` wrote, for any kind; raises `ValueError` for types that are not trusted."""
    header = read_header(folder)
    features = load_any_features(folder, header["features"])
    member = SavedLearner(None, signature=features.signature, n_classes=header["n_classes"])
    member.features = features
    member.read_model(folder, header)
    member.check()
    return member


def untrusted_types(folder: Path) -> list[str]:
    """Return the types in a newly saved model that `load` would not trust."""
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(file=folder / MODEL)
    return sorted(set(found) - set(_TRUSTED))


def trial_labels() -> NDArray[np.int64]:
    """Return the labels (n,) of the trial rows that `check_savable` fits."""
    return np.arange(_TRIAL_ROWS) % TRIAL_CLASSES


def check_savable(estimator: Any, *, name: str, trusted: Collection[str] = ()) -> None:
    """Raise `UserError` if a bundle could not store the fitted `estimator`, before anything is trained.

    A copy with few trees and rounds is fitted on a few random rows of three classes and saved. If that fails, an
    unchanged copy is tried. If the classifier cannot be fitted on these rows, it is checked without a fit. `trusted`
    are types that a bundle may contain besides scikit-learn's.
    """
    import skops.io

    random = np.random.default_rng(0)
    x, y = random.normal(size=(_TRIAL_ROWS, _TRIAL_COLUMNS)), trial_labels()
    trial = clone(estimator)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        for made in (_small, clone):
            try:
                trial = made(estimator).fit(x, y)
            except Exception:  # noqa: BLE001 - a user's classifier may raise anything
                trial = clone(estimator)
            else:
                break
    if not hasattr(trial, "predict_proba"):
        raise UserError(
            f"{name} has no predict_proba; use a classifier that has it, or wrap this one in "
            "sklearn.calibration.CalibratedClassifierCV"
        )
    try:
        found = skops.io.get_untrusted_types(data=skops.io.dumps(trial))
    except TypeError as error:  # skops' UnsupportedTypeException among them
        raise UserError(f"{name} cannot be saved: {error}; {_OTHER_WAYS}") from None
    if beyond := sorted(set(found) - set(_TRUSTED) - set(trusted)):
        way = _BRUTE if any(part in _SEARCH_TREES for part in beyond) else _OTHER_WAYS
        raise UserError(f"{name} holds {', '.join(beyond)}, which a bundle would not load; {way}")


def _small(estimator: Any) -> Any:
    """Return a copy with few trees and rounds, also in nested estimators."""
    copy = clone(estimator)
    for place, value in copy.get_params(deep=True).items():
        name = place.rpartition("__")[2]
        if name in _TRIAL_PARAMS and isinstance(value, int) and (value > _TRIAL_PARAMS[name] or name == "n_jobs"):
            copy.set_params(**{place: _TRIAL_PARAMS[name]})
    return copy


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield `value` and its parts: attributes, and the items of containers."""
    if id(value) in seen or isinstance(value, str | bytes | int | float):
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        held = list(value.ravel()) if value.dtype == object else []
    elif isinstance(value, dict):
        held = list(value.values())
    elif isinstance(value, list | tuple | set):
        held = list(value)
    else:
        yield value
        held = list(getattr(value, "__dict__", {}).values())
    for inner in held:
        yield from _parts(inner, seen)
