"""Properties of every kind of member, for all kinds of rows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.members.configurations import CONFIGURATIONS, WITHOUT_CHANCE, configurations, trained
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data, tiny_table

from quorate.data.dataset import Dataset
from quorate.members.base import HEADER, Member, load_member
from quorate.registry import MEMBERS

Rows = tuple[Dataset, Dataset]
"""Training rows and validation rows."""


@pytest.fixture(scope="module")
def images(digits) -> Rows:
    return digits.train.take(np.arange(150)), digits.train.take(np.arange(150, 200))


@pytest.fixture(scope="module")
def tables() -> Rows:
    data = tiny_table(rows=170)
    return data.take(np.arange(120)), data.take(np.arange(120, 170))


SLOW = {"torchvision", "timm transformer"}
"""Configurations that take seconds to train; another network represents their kind."""


def marks_of(case):
    return [*case.marks, *([pytest.mark.slow] if case.values[0] in SLOW else [])]


CASES = [
    pytest.param((rows, *case.values), marks=marks_of(case), id=f"{rows}-{case.values[0]}")
    for rows in ("images", "tables")
    for case in configurations(images=rows == "images", tables=rows == "tables")
]


TWO_CLASSES = [
    pytest.param(*case.values, data, marks=marks_of(case), id=f"{rows}-{case.values[0]}")
    for rows, data in (
        ("colour", tiny_data(rows=64, classes=2, shape=(8, 8, 3))),
        ("tables", tiny_table(rows=60, classes=2)),
    )
    for case in configurations(images=rows == "colour", tables=rows == "tables")
]


@pytest.fixture(scope="module", params=CASES)
def case(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def name(case) -> str:
    return case[1]


@pytest.fixture(scope="module")
def rows(case, request) -> Rows:
    return request.getfixturevalue(case[0])


@pytest.fixture(scope="module")
def fitted(name, rows) -> tuple[Member, PlainRun]:
    run = PlainRun()
    return trained(CONFIGURATIONS[name], *rows, run=run), run


@pytest.fixture(scope="module")
def member(fitted) -> Member:
    return fitted[0]


@pytest.fixture(scope="module")
def reports(fitted) -> list:
    return fitted[1].reports


def test_every_kind_has_a_configuration_here():
    own = {name for name in MEMBERS.names() if MEMBERS.get(name).__module__.startswith("quorate.")}

    assert {configuration["kind"] for configuration in CONFIGURATIONS.values()} == own


def test_probabilities_are_float32_of_every_class_and_sum_to_one(member, rows):
    proba = member.predict_proba(rows[1].x)

    assert proba.dtype == np.float32
    assert proba.shape == (50, rows[0].n_classes)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_every_kind_learns(member, rows):
    train, _ = rows

    proba = member.predict_proba(train.x)

    assert (proba.argmax(axis=1) == train.y).mean() > 0.5
    assert log_loss(train.y, proba.clip(1e-7)) < math.log(train.n_classes)


def test_a_row_is_predicted_the_same_alone_and_among_others(member, rows):
    together = member.predict_proba(rows[1].x)

    alone = member.predict_proba(rows[1].take(np.array([7])).x)

    np.testing.assert_allclose(alone, together[7:8], atol=1e-5)


def test_a_loaded_member_predicts_the_same_bits(member, rows, tmp_path):
    member.save(tmp_path)

    loaded = load_member(tmp_path)

    assert type(loaded) is type(member)
    np.testing.assert_array_equal(loaded.predict_proba(rows[1].x), member.predict_proba(rows[1].x))


def test_loading_a_saved_member_executes_no_saved_code(member, name, tmp_path):
    member.save(tmp_path)

    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".skops", ".safetensors", ".txt"}
    assert json.loads((tmp_path / HEADER).read_text())["kind"] == CONFIGURATIONS[name]["kind"]


def test_a_member_that_is_saved_twice_has_the_same_weights(member, rows, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    member.save(tmp_path / "first")
    load_member(tmp_path / "first").save(tmp_path / "second")

    np.testing.assert_array_equal(
        load_member(tmp_path / "second").predict_proba(rows[1].x), member.predict_proba(rows[1].x)
    )


def test_results_depend_on_the_seed_and_not_on_the_validation_rows(member, name, rows):
    train, valid = rows
    few = valid.take(np.arange(0, 50, 3))

    again, other = (trained(CONFIGURATIONS[name], train, few, seed=seed) for seed in (1, 2))

    expected = member.predict_proba(valid.x)
    np.testing.assert_array_equal(again.predict_proba(valid.x), expected)
    differs = (other.predict_proba(valid.x) != expected).any()
    assert differs == (name not in WITHOUT_CHANCE)


@pytest.mark.parametrize(("name", "data"), TWO_CLASSES)
def test_two_classes_are_learned(name, data, tmp_path):
    member = trained(CONFIGURATIONS[name], data, data)

    proba = member.predict_proba(data.x)

    assert proba.shape == (len(data), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.argmax(axis=1) == data.y).mean() > 0.75
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(data.x), proba)


def test_a_class_that_is_missing_from_the_fold_keeps_its_column(name, rows, tmp_path):
    # given: training rows without the class 1
    train, valid = rows[0].take(np.flatnonzero(rows[0].y != 1)), rows[1]

    # when
    member = trained(CONFIGURATIONS[name], train, valid)
    proba = member.predict_proba(valid.x)

    # then
    assert proba.shape == (50, train.n_classes)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    if CONFIGURATIONS[name]["kind"] == "net":
        assert proba[:, 1].mean() < 0.1
    else:
        assert (proba[:, 1] == 0).all()
    fitting = proba[valid.y != 1]
    assert (fitting.argmax(axis=1) == valid.y[valid.y != 1]).mean() > 0.3, "the columns are in their places"
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(valid.x), proba)


def test_each_epoch_is_reported_with_its_figures(member, name, reports):
    epochs = [dict(metrics) for metrics in reports if metrics is not None]

    assert epochs == member.history
    assert len(epochs) == CONFIGURATIONS[name].get("epochs", 1)
    names = {f"{part}_{what}" for part in ("train", "valid") for what in ("loss", "accuracy", "precision", "recall")}
    for figures in epochs:
        assert names | {"seconds"} <= figures.keys()
        assert all(math.isfinite(value) for value in figures.values())


def test_the_last_validation_figures_are_those_of_the_predictions(member, rows):
    proba = member.predict_proba(rows[1].x).astype(np.float64).clip(1e-12)

    assert member.history[-1]["valid_accuracy"] == pytest.approx((proba.argmax(axis=1) == rows[1].y).mean())
    loss = log_loss(rows[1].y, proba / proba.sum(axis=1, keepdims=True), labels=range(rows[1].n_classes))
    assert member.history[-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_cost_is_a_number_of_seconds_that_grows_with_the_rows(name, rows):
    configuration = CONFIGURATIONS[name]
    kind = MEMBERS.get(configuration["kind"])
    params = kind.Params.model_validate(configuration)

    few, many = (kind.cost(params, signature=rows[0].signature, rows=n, n_classes=10) for n in (100, 1_000))

    assert 0 < few < many
