"""Any classifier of scikit-learn as a member: written in a job file, handed over as an object, saved, refused."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tests.members.configurations import trained
from tests.tiny import LAPTOP

from quorate import EnsembleClassifier
from quorate.data.dataset import Dataset
from quorate.data.in_memory import infer_inputs
from quorate.data.signature import ImageSignature
from quorate.errors import UserError
from quorate.members import sklearn as sklearn_member
from quorate.members.base import files_of, member_of
from quorate.members.estimator_recipe import build, describe
from quorate.members.saved_learner import check_savable
from quorate.members.sklearn import Sklearn, SklearnParams

X, Y = load_iris(return_X_y=True)

CLASSIFIERS: dict[str, Any] = {
    "network": MLPClassifier((8,), solver="adam", max_iter=30),
    "network by sgd": MLPClassifier((8,), solver="sgd", max_iter=30),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression(C=3)),
    "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2),
    "histograms": HistGradientBoostingClassifier(max_iter=5),
    "boosting": GradientBoostingClassifier(n_estimators=5),
    "gaussian process": GaussianProcessClassifier(1.0 * RBF(2.0)),
    "vote": VotingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(5))], voting="soft"),
    "stack": StackingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(5))], cv=2),
    "neighbours": KNeighborsClassifier(),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_recipe_is_plain_json_and_builds_the_same_classifier(name: str) -> None:
    estimator = CLASSIFIERS[name]

    recipe = json.loads(json.dumps(describe(estimator)))
    again = build(recipe, seed=0)

    original = {name: value for name, value in estimator.get_params(deep=True).items() if _is_plain(value)}
    for name, value in original.items():
        if name.endswith("random_state") or (name, value) == ("algorithm", "auto"):
            continue
        built = again.get_params(deep=True)[name]
        assert built == value or (isinstance(value, tuple) and built == list(value)), name


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | tuple)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_saved_classifier_predicts_the_same_without_pickle(name: str) -> None:
    data = Dataset(infer_inputs(X), Y.astype(np.int64), ("a", "b", "c"))
    member = trained({"kind": "sklearn", "estimator": describe(CLASSIFIERS[name])}, data, data)

    files = files_of(member)
    loaded = member_of(files)

    assert not any(content.startswith(b"\x80") for content in files.values()), "a pickle"
    np.testing.assert_array_equal(loaded.predict_proba(data.x), member.predict_proba(data.x))


def test_scikit_learn_objects_can_be_members() -> None:
    members = {
        "mlp": MLPClassifier((8,), max_iter=200),
        "lda": Pipeline([("scale", StandardScaler()), ("line", LogisticRegression())]),
        "copied": {"kind": "sklearn", "estimator": RandomForestClassifier(5), "copies": 2},
    }

    ensemble = EnsembleClassifier(members, validation={"folds": 3}).fit(X, Y)
    again = EnsembleClassifier(members, validation={"folds": 3}).fit(X, Y)

    assert ensemble.leaderboard_["name"].iloc[0] == "ensemble"
    assert set(ensemble.leaderboard_["name"]) == {"ensemble", "mlp", "lda", "copied.1", "copied.2"}
    assert (ensemble.predict(X) == Y).mean() > 0.95
    np.testing.assert_array_equal(ensemble.predict_proba(X), again.predict_proba(X))


def test_copies_differ_in_their_seeds_and_an_explicit_seed_is_kept() -> None:
    recipe = describe(make_pipeline(StandardScaler(), RandomForestClassifier(5)))
    given = describe(RandomForestClassifier(5, random_state=7))

    first, second = (build(recipe, seed=seed).get_params()["randomforestclassifier__random_state"] for seed in (1, 2))

    assert first != second
    assert build(given, seed=1).random_state == 7


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (SVC(), "sklearn.svm.SVC has no predict_proba; use a classifier that has it, or wrap this one in "),
        (
            KNeighborsClassifier(algorithm="kd_tree"),
            "KDTree, which a bundle would not load; set its algorithm to brute",
        ),
        (LinearRegression(), "sklearn.linear_model.LinearRegression is not a classifier"),
        (
            KNeighborsClassifier(metric=lambda a, b: 0.0),
            "KNeighborsClassifier: metric is a function, which ",
        ),
        (LogisticRegression(class_weight={0: 1, 1: 2}), "class_weight is a dict, which a job file cannot contain"),
        (EnsembleClassifier(), "quorate.estimator.EnsembleClassifier is not a scikit-learn estimator"),
        ({"kind": "sklearn", "estimator": "os.path"}, "'os.path' is not a scikit-learn class"),
        ({"kind": "sklearn", "estimator": "sklearn.svm.SVX"}, "scikit-learn has no estimator sklearn.svm.SVX"),
        ({"kind": "sklearn", "estimator": {"C": 1}}, "the key 'class' is missing"),
        (
            {"kind": "sklearn", "estimator": {"class": "sklearn.svm.SVC", "c": 1}},
            "sklearn.svm.SVC does not take c (it takes C, kernel, ",
        ),
    ],
)
def test_unusable_classifiers_are_refused_before_training(estimator: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        EnsembleClassifier({"m": estimator}, validation={"folds": 2}).fit(X, Y)

    assert said in str(error.value)


def test_a_classifier_without_sample_weights_is_refused_if_rows_are_weighted() -> None:
    members = {"m": {"kind": "sklearn", "estimator": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"}}
    said = r"LinearDiscriminantAnalysis cannot weight rows: its fit takes no sample_weight"

    with pytest.raises(ValueError, match=said):
        EnsembleClassifier({"m": {**members["m"], "class_weight": "balanced"}}, validation={"folds": 2}).fit(X, Y)
    with pytest.raises(RuntimeError, match=said):
        EnsembleClassifier(members, validation={"folds": 2}).fit(X, Y, sample_weight=np.arange(150) + 1)


@pytest.mark.parametrize("path", ["sklearn.ensemble.VotingClassifier", "sklearn.ensemble.BaseEnsemble"])
def test_a_class_that_cannot_be_constructed_is_refused_with_the_reason(path):
    with pytest.raises(ValueError, match=f"{path} cannot be created: "):
        build({"class": path}, seed=0)


class Picky(ClassifierMixin, BaseEstimator):
    """A classifier that fails on random rows with its own error."""

    def fit(self, x, y):
        raise KeyError("price")

    def predict_proba(self, x):
        return x


def test_a_classifier_that_cannot_fit_the_trial_rows_is_checked_without_a_fit():
    with pytest.raises(UserError, match=r"it holds .*Picky, which a bundle would not load"):
        check_savable(Picky(), name="it")


class Counted(LogisticRegression):
    """Counts its fits."""

    fits: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, n_estimators: int = 5_000, max_iter: int = 5_000, least: int = 0) -> None:
        super().__init__(max_iter=max_iter)
        self.n_estimators, self.least = n_estimators, least

    def fit(self, x, y):
        self.fits.append((self.n_estimators, self.max_iter))
        if self.n_estimators < self.least:
            raise ValueError("too few")
        return super().fit(x, y)


def test_whether_a_classifier_can_be_saved_is_tried_with_few_trees_and_rounds(monkeypatch):
    monkeypatch.setattr(Counted, "fits", [])
    trusted = [f"{Counted.__module__}.Counted"]
    nested, few = VotingClassifier([("a", Counted())], voting="soft"), Counted(n_estimators=1, max_iter=1)

    for estimator in (Counted(), nested, few):
        check_savable(estimator, name="it", trusted=trusted)
    assert Counted.fits == [(2, 2), (2, 2), (1, 1)]
    assert (nested.estimators[0][1].n_estimators, nested.estimators[0][1].max_iter) == (5_000, 5_000)

    check_savable(Counted(n_estimators=30, max_iter=9, least=10), name="it", trusted=trusted)
    assert Counted.fits[3:] == [(2, 2), (30, 9)], "as it is where it cannot learn with few"


def test_members_with_one_recipe_are_tried_once(monkeypatch):
    asked = []
    monkeypatch.setattr(sklearn_member, "check_savable", lambda estimator, *, name: asked.append(estimator.C))
    monkeypatch.setattr(sklearn_member, "_SAVABLE", set())
    signature = ImageSignature((8, 8, 1))

    for c in (1.25, 1.25, 2.5, 1.25):
        params = SklearnParams(estimator={"class": "sklearn.linear_model.LogisticRegression", "C": c})
        Sklearn.numerics(params, signature=signature, rows=100, hardware=LAPTOP)

    assert asked == [1.25, 2.5]
