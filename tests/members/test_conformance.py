"""What every member keeps, whatever its kind."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tests.members.configurations import CONFIGURATIONS, WITHOUT_CHANCE, trained
from tests.members.plain_run import PlainRun
from tests.tiny import tiny_data

from quorate.data.dataset import Dataset
from quorate.data.signature import ImageSignature
from quorate.kinds import MEMBERS
from quorate.members.base import HEADER, Member, load_member

COLOUR = tiny_data(rows=48, shape=(8, 8, 3))


@pytest.fixture(scope="module")
def grey(digits) -> tuple[Dataset, Dataset]:
    return digits.train.take(np.arange(150)), digits.train.take(np.arange(150, 200))


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def member(name, grey) -> Member:
    return trained(CONFIGURATIONS[name], *grey)


def test_every_kind_has_a_configuration_here():
    own = {name for name in MEMBERS.names() if MEMBERS.get(name).__module__.startswith("quorate.")}

    assert {configuration["kind"] for configuration in CONFIGURATIONS.values()} == own


def test_probabilities_are_float32_of_every_class_and_sum_to_one(member, grey):
    proba = member.predict_proba(grey[1].x)

    assert proba.dtype == np.float32
    assert proba.shape == (50, 10)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_it_learns(member, grey):
    train, _ = grey

    proba = member.predict_proba(train.x)

    assert (proba.argmax(axis=1) == train.y).mean() > 0.5
    assert log_loss(train.y, proba.clip(1e-7)) < math.log(10)


def test_a_row_is_predicted_the_same_alone_and_among_others(member, grey):
    rows = grey[1].x
    together = member.predict_proba(rows)

    alone = member.predict_proba(grey[1].take(np.array([7])).x)

    np.testing.assert_allclose(alone, together[7:8], atol=1e-5)


def test_a_loaded_member_predicts_the_same_bits(member, grey, tmp_path):
    member.save(tmp_path)

    loaded = load_member(tmp_path)

    assert type(loaded) is type(member)
    np.testing.assert_array_equal(loaded.predict_proba(grey[1].x), member.predict_proba(grey[1].x))


def test_nothing_that_is_saved_executes_on_load(member, name, tmp_path):
    member.save(tmp_path)

    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".skops", ".safetensors"}
    assert json.loads((tmp_path / HEADER).read_text())["kind"] == CONFIGURATIONS[name]["kind"]


def test_a_member_that_is_saved_twice_has_the_same_weights(member, grey, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    member.save(tmp_path / "first")
    load_member(tmp_path / "first").save(tmp_path / "second")

    np.testing.assert_array_equal(
        load_member(tmp_path / "second").predict_proba(grey[1].x), member.predict_proba(grey[1].x)
    )


def test_the_same_seed_gives_the_same_bits_and_another_one_others(member, name, grey):
    again, other = (trained(CONFIGURATIONS[name], *grey, seed=seed) for seed in (1, 2))
    expected = member.predict_proba(grey[1].x)

    np.testing.assert_array_equal(again.predict_proba(grey[1].x), expected)
    differs = (other.predict_proba(grey[1].x) != expected).any()
    assert differs == (name not in WITHOUT_CHANCE)


def test_colour_images_of_three_classes_are_learned(name):
    member = trained(CONFIGURATIONS[name], COLOUR, COLOUR)

    proba = member.predict_proba(COLOUR.x)

    assert proba.shape == (48, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.argmax(axis=1) == COLOUR.y).mean() > 0.5


def test_a_class_that_the_fold_misses_keeps_its_column(name, grey, tmp_path):
    # given: training rows without the class 4
    train = grey[0].take(np.flatnonzero(grey[0].y != 4))

    # when
    member = trained(CONFIGURATIONS[name], train, grey[1])
    proba = member.predict_proba(grey[1].x)

    # then
    assert proba.shape == (50, 10)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    if CONFIGURATIONS[name]["kind"] == "net":
        assert proba[:, 4].mean() < 0.1
    else:
        assert (proba[:, 4] == 0).all()
    fitting = proba[grey[1].y != 4]
    assert (fitting.argmax(axis=1) == grey[1].y[grey[1].y != 4]).mean() > 0.3, "the columns are in their places"
    member.save(tmp_path)
    np.testing.assert_array_equal(load_member(tmp_path).predict_proba(grey[1].x), proba)


def test_each_epoch_is_reported_with_its_figures(name, grey):
    run = PlainRun()
    member = trained(CONFIGURATIONS[name], *grey, run=run)

    epochs = [dict(metrics) for metrics in run.reports if metrics is not None]

    assert epochs == member.history
    assert len(epochs) == CONFIGURATIONS[name].get("epochs", 1)
    names = {f"{part}_{what}" for part in ("train", "valid") for what in ("loss", "accuracy", "precision", "recall")}
    for figures in epochs:
        assert names | {"seconds"} <= figures.keys()
        assert all(math.isfinite(value) for value in figures.values())


def test_the_last_validation_figures_are_those_of_the_predictions(name, grey):
    member = trained(CONFIGURATIONS[name], *grey)

    proba = member.predict_proba(grey[1].x).astype(np.float64).clip(1e-12)

    assert member.history[-1]["valid_accuracy"] == pytest.approx((proba.argmax(axis=1) == grey[1].y).mean())
    loss = log_loss(grey[1].y, proba / proba.sum(axis=1, keepdims=True), labels=range(10))
    assert member.history[-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_the_cost_is_a_number_of_seconds_that_grows_with_the_rows(name):
    configuration = CONFIGURATIONS[name]
    kind = MEMBERS.get(configuration["kind"])
    params = kind.Params.model_validate(configuration)

    few, many = (
        kind.cost(params, signature=ImageSignature((8, 8, 1)), rows=rows, n_classes=10) for rows in (100, 1_000)
    )

    assert 0 < few < many
