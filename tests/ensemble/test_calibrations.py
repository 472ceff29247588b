"""What every calibration promises, and each against a reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tests.ensemble.samples import labels, member, softmax

from quorate.ensemble.calibration_error import classwise_ece
from quorate.ensemble.calibrator import calibration_from_json, calibration_to_json, calibrator_of
from quorate.ensemble.dependence import INDEPENDENT, Dependence
from quorate.ensemble.metrics import nll
from quorate.registry import CALIBRATIONS

KINDS = CALIBRATIONS.names()
FITTED = [kind for kind in KINDS if kind != "none"]


def calibrator(kind: str, **values):
    return calibrator_of(CALIBRATIONS.get(kind).Params(kind=kind, **values))


def sample(seed: int = 0, *, rows: int = 900, classes: int = 3, sharpness: float = 3.0):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return member(rng, y, classes=classes, skill=1.5, sharpness=sharpness), y


def twisted(seed: int = 1, *, rows: int = 4000):
    """Probabilities wrong in another way for each class, so that one temperature cannot correct them."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.ones(3), rows)
    y = np.array([rng.choice(3, p=row) for row in truth])
    return softmax(np.log(truth) * np.array([0.5, 1.0, 2.0]) + np.array([1.0, 0.0, -0.5])), y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 4])
def test_rows_sum_to_one_and_survive_json_with_every_bit(kind, classes):
    proba, y = sample(classes=classes)

    fitted = calibrator(kind).fit(proba=proba.astype(np.float32), y=y)

    found = fitted.apply(proba)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert found.min() >= 0
    restored = calibration_from_json(json.loads(json.dumps(calibration_to_json(fitted))))
    assert restored.apply(proba).tobytes() == found.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_certain_row_stays_finite_whatever_its_label(kind):
    proba, y = sample()
    proba[:5] = np.eye(3)[[0, 1, 2, 0, 1]]

    fitted = calibrator(kind).fit(proba=proba, y=y)

    assert np.isfinite(fitted.apply(np.eye(3, dtype=np.float32))).all()
    assert np.isfinite(nll(fitted.apply(proba), y))


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_without_rows_changes_little(kind):
    proba, _ = sample(rows=5)

    fitted = calibrator(kind).fit(proba=proba[:0], y=np.zeros(0, np.int64))

    np.testing.assert_allclose(fitted.apply(proba), proba, atol=1e-9)


@pytest.mark.parametrize("kind", FITTED)
def test_an_overconfident_member_is_calibrated_on_rows_that_were_not_seen(kind):
    proba, y = sample(rows=3000, sharpness=4.0)

    fitted = calibrator(kind).fit(proba=proba[:2000], y=y[:2000])

    assert nll(fitted.apply(proba[2000:]), y[2000:]) < nll(proba[2000:], y[2000:]) - 0.2


@pytest.mark.parametrize("kind", ["vector", "matrix", "beta", "isotonic"])
def test_class_specific_errors_need_more_than_a_temperature(kind):
    proba, y = twisted()
    fit, held = slice(0, 3000), slice(3000, None)

    one, more = (calibrator(each).fit(proba=proba[fit], y=y[fit]).apply(proba[held]) for each in ("temperature", kind))

    assert nll(more, y[held]) < nll(one, y[held]) - 0.05
    assert classwise_ece(more, y[held]) < 0.6 * classwise_ece(one, y[held])


def test_vector_scaling_finds_the_minimum_of_an_independent_optimizer():
    proba, y = twisted(rows=400)
    logits = np.log(proba)

    def penalized(parameters):
        losses = -log_softmax(logits * parameters[:3] + parameters[3:], axis=1)[np.arange(400), y]
        return losses.mean() + 10 / 800 * ((parameters - np.r_[1, 1, 1, 0, 0, 0]) ** 2).sum()

    reference = minimize(penalized, np.r_[1.0, 1, 1, 0, 0, 0], method="Powell", options={"xtol": 1e-9, "ftol": 1e-14})

    fitted = calibrator("vector").fit(proba=proba, y=y)

    np.testing.assert_allclose(np.r_[fitted.slope, fitted.shift], reference.x, atol=1e-3)


def confused(seed: int, *, rows: int, concentration: float = 0.5):
    """Probabilities that mistake the class 0 for the class 1, and labels; no slopes and shifts correct them."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(4, concentration), rows)
    y = (rng.random((rows, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    mixed = np.log(truth) @ np.array([[1.0, 0.6, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return softmax(mixed), y


def test_matrix_scaling_corrects_confused_classes_where_vector_scaling_cannot():
    proba, y = confused(0, rows=6000)
    fit, held = slice(0, 4000), slice(4000, None)

    losses = {
        kind: nll(calibrator(kind).fit(proba=proba[fit], y=y[fit]).apply(proba[held]), y[held])
        for kind in ("temperature", "vector", "matrix")
    }

    assert losses["matrix"] < losses["vector"] - 0.02 < losses["temperature"]


@pytest.mark.parametrize("rows", [120, 2000])
def test_matrix_scaling_is_that_of_the_library_of_its_authors(rows):
    reason = "pip install probmetrics, the library of the authors"
    library = pytest.importorskip("probmetrics.calibrators", reason=reason)
    proba, y = confused(1, rows=rows, concentration=5)
    reference = library.get_calibrator("sms")
    reference.fit(proba, y)

    fitted = calibrator("matrix").fit(proba=proba, y=y)

    # the library mixes a uniform distribution into its temperature scaling, which shows where probabilities are small
    np.testing.assert_allclose(fitted.apply(proba), reference.predict_proba(proba), atol=0.01)
    assert nll(fitted.apply(proba), y) == pytest.approx(nll(reference.predict_proba(proba), y), abs=1e-3)


def test_auto_takes_the_matrix_only_where_it_is_better_beyond_noise():
    kinds = [calibrator("auto").fit(proba=proba, y=y).kind for proba, y in (sample(rows=300), confused(0, rows=3000))]

    assert kinds == ["temperature", "matrix"]


def test_auto_does_not_choose_on_rows_of_the_groups_that_it_was_fitted_on():
    rng = np.random.default_rng(0)
    proba, y = rng.dirichlet(np.ones(4), 25).repeat(40, axis=0), rng.integers(0, 4, 25).repeat(40)
    groups = np.arange(25).repeat(40)

    kinds = [
        calibrator("auto").fit_dependent(proba=proba, y=y, dependence=dependence).kind
        for dependence in (INDEPENDENT, Dependence(groups))
    ]

    assert kinds == ["matrix", "temperature"]


def test_matrix_scaling_with_a_large_penalty_is_temperature_scaling():
    proba, y = sample(rows=300)

    fitted = calibrator("matrix", ridge=1e9).fit(proba=proba, y=y)

    plain = calibrator("temperature").fit(proba=proba, y=y)
    np.testing.assert_allclose(fitted.apply(proba), plain.apply(proba), atol=1e-6)


def test_without_a_penalty_vector_scaling_recovers_the_true_parameters():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(3), 40_000)
    truth = softmax(np.log(proba) * np.array([2.0, 1.0, 0.5]) + np.array([0.5, 0.0, -0.5]))
    y = (rng.random((40_000, 1)) > truth.cumsum(axis=1)).sum(axis=1)

    fitted = calibrator("vector", ridge=0).fit(proba=proba, y=y)

    np.testing.assert_allclose(fitted.slope, [2.0, 1.0, 0.5], atol=0.06)
    np.testing.assert_allclose(fitted.shift - fitted.shift[1], [0.5, 0.0, -0.5], atol=0.06)


def test_beta_calibration_of_two_classes_is_a_logistic_regression_on_both_logarithms():
    proba, y = sample(classes=2, sharpness=2.0)
    logarithms = np.c_[np.log(proba[:, 1]), -np.log1p(-proba[:, 1])]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(logarithms, y)

    fitted = calibrator("beta", ridge=0).fit(proba=proba, y=y)

    a, b, c = fitted.coefficients[1]
    assert reference.coef_[0].min() > 0
    np.testing.assert_allclose([a, b, c], [*reference.coef_[0], reference.intercept_[0]], atol=2e-3)
    np.testing.assert_allclose(fitted.apply(proba), reference.predict_proba(logarithms), atol=1e-4)


def test_isotonic_calibration_is_that_of_scikit_learn_with_one_row_for_the_uniform_distribution():
    proba, y = sample(rows=500)
    curves = [IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(proba[:, k], y == k) for k in range(3)]
    each = np.column_stack([curve.predict(proba[:, k]) for k, curve in enumerate(curves)])
    shrunk = (500 * each + 1 / 3) / 501

    fitted = calibrator("isotonic").fit(proba=proba, y=y)

    np.testing.assert_allclose(fitted.apply(proba), shrunk / shrunk.sum(axis=1, keepdims=True), atol=1e-9)
    assert log_loss(y, fitted.apply(proba)) < log_loss(y, proba)


@pytest.mark.parametrize("kind", ["beta", "isotonic"])
def test_calibration_keeps_the_order_of_rows_with_two_classes(kind):
    proba, y = sample(classes=2)

    found = calibrator(kind).fit(proba=proba, y=y).apply(proba)

    rising = found[np.argsort(proba[:, 1]), 1]
    assert (np.diff(rising) >= -1e-9).all()
