"""The metrics agree with scikit-learn, and with examples worked by hand where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from tests.ensemble.samples import labels, member

from quorate.ensemble import metrics

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, rows: int = 200, classes: int = 5):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return member(rng, y, classes=classes, skill=1.0), y


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_metrics_equal_those_of_scikit_learn(seed):
    proba, y = sample(seed)
    predicted = proba.argmax(axis=1)

    assert metrics.accuracy(proba, y) == reference.accuracy_score(y, predicted)
    assert metrics.nll(proba, y) == pytest.approx(reference.log_loss(y, proba, labels=range(5)), rel=1e-6)
    assert (metrics.confusion_matrix(proba, y, 5) == reference.confusion_matrix(y, predicted, labels=range(5))).all()


def test_brier_of_two_classes_is_twice_that_of_scikit_learn():
    proba, y = sample(3, classes=2)

    assert metrics.brier(proba, y) == pytest.approx(2 * reference.brier_score_loss(y, proba[:, 1]), rel=1e-6)


def test_brier_of_a_worked_example():
    # given: squared distances .09 + .04 + .01 = .14 and .25 + .36 + .01 = .62
    proba = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])

    assert metrics.brier(proba, np.array([0, 1])) == pytest.approx((0.14 + 0.62) / 2)


def test_ece_of_a_worked_example():
    # given: three rows of confidence .95 in the top bin, two of them right: |2/3 - .95| = .28333,
    # and one row of confidence .55 in its own bin, right: |1 - .55| = .45
    proba = np.array([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.55, 0.45]])
    y = np.array([0, 1, 1, 0])

    assert metrics.ece(proba, y) == pytest.approx(0.75 * (0.95 - 2 / 3) + 0.25 * 0.45)


def test_ece_bins_hold_their_upper_edge():
    # given: confidences .75 and .8 with four bins; .75 belongs to (.5, .75], so the gaps do not cancel
    proba = np.array([[0.75, 0.25], [0.8, 0.2]])
    y = np.array([0, 1])

    assert metrics.ece(proba, y, bins=4) == pytest.approx(0.5 * 0.25 + 0.5 * 0.8)


def test_nll_clips_impossible_labels_and_renormalizes_rows():
    proba = np.array([[1.0, 0.0], [3.0, 1.0]], dtype=np.float32)

    losses = metrics.row_nll(proba, np.array([1, 1]))

    assert losses == pytest.approx([-np.log(1e-12), np.log(4)])


def test_scores_hold_the_four_numbers_of_a_table():
    proba, y = sample(0)

    scores = metrics.scores(proba, y)

    assert list(scores) == ["accuracy", "nll", "ece", "brier"]
    assert all(type(value) is float for value in scores.values())
    assert scores["nll"] == pytest.approx(reference.log_loss(y, proba, labels=range(5)), rel=1e-6)
