"""Boosted trees agree with their packages, stop on held-out rows, and report a missing package."""

from __future__ import annotations

import importlib.util
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from tests.members.configurations import CONFIGURATIONS, configurations, trained
from tests.tiny import plan_of, tiny_data, tiny_table

from quorate.data.dataset import Dataset
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table
from quorate.members.base import load_member
from quorate.members.boosting import Boosting, boosting_cost
from quorate.members.held_out import hold_out
from quorate.registry import MEMBERS
from quorate.spec.file import SpecError

DATA, NEW = tiny_table(rows=400), tiny_table(rows=100, seed=1)
IMAGES = tiny_data(rows=120)
ALL_ROUNDS = {"iterations": 12, "patience": None, "learning_rate": 0.2}
NAMES = ["gradient boosting", "lightgbm", "xgboost", "catboost"]
KINDS = [case for case in configurations() if case.values[0] in NAMES]


def rounds_of(member: Any) -> int:
    """How many rounds of boosting the member has learned."""
    return {
        "gradient_boosting": lambda model: model.n_iter_,
        "lightgbm": lambda model: model.best_iteration if model.best_iteration > 0 else model.current_iteration(),
        "xgboost": lambda model: model.num_boosted_rounds(),
        "catboost": lambda model: model.tree_count_,
    }[member.params.kind](member.model)


def test_gradient_boosting_is_that_of_scikit_learn():
    member = trained({"kind": "gradient_boosting", **ALL_ROUNDS}, DATA, NEW, seed=3)

    x = member.features(DATA.x)
    reference = HistGradientBoostingClassifier(
        learning_rate=0.2, max_iter=12, early_stopping=False, categorical_features=[3, 4], random_state=3
    ).fit(x, DATA.y)
    np.testing.assert_allclose(member.predict_proba(NEW.x), reference.predict_proba(member.features(NEW.x)), atol=1e-6)


@pytest.mark.parametrize("data", [DATA, DATA.take(np.flatnonzero(DATA.y != 1))], ids=["three classes", "two"])
def test_lightgbm_is_that_of_its_package(data):
    member = trained({"kind": "lightgbm", **ALL_ROUNDS}, data, NEW, seed=3)

    reference = lightgbm.LGBMClassifier(n_estimators=12, learning_rate=0.2, n_jobs=1, verbosity=-1)
    reference.fit(member.features(data.x), data.y, categorical_feature=[3, 4])
    expected = reference.predict_proba(member.features(NEW.x))
    np.testing.assert_allclose(member.predict_proba(NEW.x)[:, np.unique(data.y)], expected, atol=1e-6)


def test_xgboost_is_that_of_its_package():
    xgboost = pytest.importorskip("xgboost")
    member = trained({"kind": "xgboost", **ALL_ROUNDS}, DATA, NEW, seed=3)

    reference = xgboost.XGBClassifier(
        n_estimators=12, learning_rate=0.2, n_jobs=1, feature_types=["q", "q", "q", "c", "c"], enable_categorical=True
    )
    reference.fit(member.features(DATA.x), DATA.y)
    expected = reference.predict_proba(member.features(NEW.x))
    np.testing.assert_allclose(member.predict_proba(NEW.x), expected, atol=1e-5)


@pytest.mark.parametrize(("own", "theirs"), [({}, {}), ({"one_hot": 255}, {"one_hot_max_size": 255})])
def test_catboost_is_that_of_its_package(own, theirs, tmp_path):
    member = trained({"kind": "catboost", **ALL_ROUNDS, **own}, DATA, NEW, seed=3)

    def frame(rows: Dataset) -> pd.DataFrame:
        x = pd.DataFrame(member.features(rows.x))
        return x.assign(**{"3": x[3].fillna(-1).astype(int), "4": x[4].fillna(-1).astype(int)}).drop(columns=[3, 4])

    reference = catboost.CatBoostClassifier(
        iterations=12,
        learning_rate=0.2,
        random_seed=3,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
        **theirs,
    )
    reference.fit(frame(DATA), DATA.y, cat_features=["3", "4"])
    np.testing.assert_allclose(member.predict_proba(NEW.x), reference.predict_proba(frame(NEW)), atol=1e-6)
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(NEW.x), member.predict_proba(NEW.x))


@pytest.mark.parametrize("name", KINDS)
def test_boosting_stops_when_the_held_out_loss_does_not_improve(name):
    patient, all_rounds = (
        trained({**CONFIGURATIONS[name], "iterations": 150, "learning_rate": 0.3, "patience": patience}, DATA, NEW)
        for patience in (5, None)
    )

    assert rounds_of(patient) < 150
    assert rounds_of(all_rounds) == 150


@pytest.mark.parametrize("name", KINDS)
def test_what_is_held_out_is_a_part_of_the_training_rows(name):
    """Other values in the held-out rows may change when boosting stops, but not the trees."""

    def changed(rows: np.ndarray) -> Dataset:
        frame = DATA.x.frame.copy()
        frame.loc[rows, "length"] += 100
        return Dataset(Table(frame, DATA.x.signature), DATA.y, DATA.class_names)

    kept, held = hold_out(DATA.y, fraction=0.15, seed=1)
    configuration = {**CONFIGURATIONS[name], "iterations": 1, "patience": 1}
    plain, without_effect, with_effect = (
        trained(configuration, data, NEW, seed=1).predict_proba(NEW.x)
        for data in (DATA, changed(held), changed(kept[:60]))
    )

    np.testing.assert_array_equal(without_effect, plain)
    assert (with_effect != plain).any()


@pytest.mark.parametrize("name", KINDS)
def test_columns_of_more_categories_than_boosting_takes_are_learned(name):
    # given: 600 categories, even ones of the class 0
    codes = np.arange(24_000) % 600
    frame = pd.DataFrame({"code": [f"c{code}" for code in codes]})
    rows = Table.of(frame, TableSignature((Column("code", "categorical"),)))
    data = Dataset(rows, (codes % 2).astype(np.int64), ("even", "odd"))

    # when
    member = trained({**CONFIGURATIONS[name], "iterations": 30, "patience": None}, data, data)

    # then: 253 have a code of their own
    assert (member.predict_proba(rows).argmax(axis=1) == data.y).mean() > 0.6


@pytest.mark.parametrize("name", KINDS)
def test_images_are_learned_without_categories(name):
    member = trained(CONFIGURATIONS[name], IMAGES, IMAGES)

    assert isinstance(member, Boosting) and member.categories == []
    assert (member.predict_proba(IMAGES.x).argmax(axis=1) == IMAGES.y).mean() > 0.9


def test_the_error_for_a_missing_package_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    missing = "xgboost"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else found(name, *rest)
    )

    with pytest.raises(SpecError) as error:
        plan_of("{m: {kind: xgboost}}")

    assert "kind: xgboost requires the package xgboost; install it: " in str(error.value)
    assert "pip install" in str(error.value)
    assert "xgboost<" in str(error.value), "the requirement with its bounds, as the package's metadata have it"


def test_the_estimated_time_follows_the_rounds_that_early_stopping_leaves():
    def seconds(**given):
        params = MEMBERS.get("gradient_boosting").Params.model_validate({"kind": "gradient_boosting", **given})
        return boosting_cost(params, size=18, rows=1_000, n_classes=4)

    # (4 + 1000 / 2000) / 0.1 + 30 rounds of four trees, each of 0.5 ms and 20 ns per value
    assert seconds(learning_rate=0.1) == pytest.approx(75 * 4 * (0.5e-3 + 20e-9 * 18_000))
    assert seconds(learning_rate=0.01) == pytest.approx(480 * 4 * 0.86e-3)
    assert seconds(learning_rate=0.01, iterations=200) == pytest.approx(200 * 4 * 0.86e-3), "no more than allowed"
    assert seconds(learning_rate=0.1, patience=None) == pytest.approx(1000 * 4 * 0.86e-3), "all rounds"
