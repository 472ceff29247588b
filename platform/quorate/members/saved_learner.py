"""Loads a scikit-learn classifier of a user's own kind without that kind: nothing but scikit-learn is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.tree import BaseDecisionTree

from quorate.members.backbone_features import load_any_features
from quorate.members.base import read_header
from quorate.members.forest import check_tree
from quorate.members.learner import MODEL, Learner

LOADER = "learner"
"""Names this module in a member's header."""

_TRUSTED = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.tree._tree.Tree",
)
"""What estimators hold beyond skops' own types, as far as a damaged one is noticed by `check`."""


class SavedLearner(Learner):
    """A fitted classifier; it predicts and no more."""

    trusted: ClassVar[tuple[str, ...]] = _TRUSTED

    def check(self) -> None:
        for part in _parts(self.model, set()):
            if isinstance(part, BaseForest | BaseGradientBoosting) and hasattr(part, "estimators_"):
                for tree in np.ravel(np.asarray(part.estimators_, dtype=object)):
                    check_tree(tree.tree_, features=int(part.n_features_in_))
            elif isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):  # a forest's pattern has none
                check_tree(part.tree_, features=int(part.n_features_in_))


def load(folder: Path) -> SavedLearner:
    """What `Learner.save` wrote, whatever its kind; raises `ValueError` for types that are not trusted."""
    header = read_header(folder)
    features = load_any_features(folder, header["features"])
    member = SavedLearner(None, signature=features.signature, n_classes=header["n_classes"])
    member.features = features
    member.read_model(folder, header)
    member.check()
    return member


def untrusted_types(folder: Path) -> list[str]:
    """The types in a model that was just saved which `load` would not trust."""
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(file=folder / MODEL)
    return sorted(set(found) - set(_TRUSTED))


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    """`value` and what it is made of: attributes, and what containers hold."""
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
