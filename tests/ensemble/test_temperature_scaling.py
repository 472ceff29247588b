"""The fitted temperature is the best one, and tempering is softmax(log p / T)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from tests.ensemble.samples import labels, member, softmax

from quorate.ensemble.calibrator import fit_each
from quorate.ensemble.metrics import nll
from quorate.ensemble.temperature_scaling import apply_temperature, fit_temperature
from quorate.registry import KindParams

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, *, sharpness: float = 1.0, rows: int = 300, classes: int = 4):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return member(rng, y, classes=classes, skill=1.5, sharpness=sharpness), y


def test_tempering_is_softmax_of_logits_over_temperature():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.5, 3.0]])

    tempered = apply_temperature(proba=softmax(logits), temperature=2.5)

    assert tempered == pytest.approx(softmax(logits / 2.5))


def test_tempering_of_certain_float32_rows_stays_finite_and_sums_to_one():
    certain = np.eye(3, dtype=np.float32)

    cold, hot = (apply_temperature(proba=certain, temperature=t) for t in (0.05, 20.0))

    for tempered in (cold, hot):
        assert tempered.dtype == np.float64
        assert tempered.sum(axis=1) == pytest.approx(1, abs=1e-15)
    assert hot[0, 0] == pytest.approx(1 / (1 + 2 * 1e-12 ** (1 / 20)))


@pytest.mark.parametrize(
    "sharpness", [0.4, 3, *(pytest.param(given, marks=pytest.mark.slow) for given in (0.1, 1, 10))]
)
def test_temperature_has_the_least_loss_of_a_fine_grid_and_of_scipy(sharpness):
    # given
    proba, y = sample(7, sharpness=sharpness)

    def loss(log_temperature):
        return log_loss(y, softmax(np.log(np.maximum(proba, 1e-12)) / np.exp(log_temperature)), labels=range(4))

    # when
    fitted = fit_temperature(proba=proba, y=y)

    # then
    grid = np.linspace(np.log(0.05), np.log(20), 400)
    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-9})
    assert loss(np.log(fitted)) <= min(loss(point) for point in grid) + 1e-12
    assert fitted == pytest.approx(np.exp(best.x), rel=1e-4)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0.3, 3))
def test_tempering_by_t_divides_the_fitted_temperature_by_t(seed, t):
    proba, y = sample(seed)
    tempered = apply_temperature(proba=proba, temperature=t)

    refitted = fit_temperature(proba=tempered, y=y)

    assert refitted == pytest.approx(fit_temperature(proba=proba, y=y) / t, rel=1e-4)


def test_calibrated_probabilities_keep_temperature_one_exactly():
    proba, y = sample(1, sharpness=4)
    tempered = apply_temperature(proba=proba, temperature=fit_temperature(proba=proba, y=y))

    assert fit_temperature(proba=tempered, y=y) == 1.0


def test_temperature_recovers_the_sharpness_of_labels_drawn_from_the_model():
    # given: labels drawn from softmax(logits), probabilities five times as sharp
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    y = (rng.random((20_000, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)

    assert fit_temperature(proba=softmax(5 * logits), y=y) == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(
    ("proba", "y", "expected"),
    [
        (np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2], 1.0),
        (np.eye(3)[[0, 1, 2]], [0, 1, 2], 1.0),
        (np.empty((0, 3)), [], 1.0),
        (np.array([[0.6, 0.4], [0.3, 0.7]]), [0, 1], 0.05),
        (np.array([[0.6, 0.4], [0.3, 0.7]]), [1, 0], 20.0),
    ],
    ids=["uniform", "certain and right", "no rows", "always right", "always wrong"],
)
def test_temperature_of_degenerate_members(proba, y, expected):
    assert fit_temperature(proba=proba, y=np.array(y, dtype=np.int64)) == expected


def test_temperatures_of_members_do_not_depend_on_each_other():
    first, y = sample(0, sharpness=3)
    second = np.roll(first, 1, axis=1)

    fitted = fit_each(KindParams(kind="temperature"), proba=np.stack([first, second]), y=y)

    assert [one.temperature for one in fitted] == [fit_temperature(proba=p, y=y) for p in (first, second)]
    assert nll(fitted[0].apply(first), y) < nll(first, y)
