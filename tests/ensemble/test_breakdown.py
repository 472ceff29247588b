"""Figures by class, by confidence and by row."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_fscore_support

from quorate.ensemble.breakdown import by_class, confident_mistakes, reliability
from quorate.ensemble.metrics import confusion_matrix, ece


def sample(rows: int, classes: int):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, classes)) * 2
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return proba, rng.integers(0, classes, rows)


def test_the_figures_of_each_class_are_those_of_scikit_learn():
    proba, y = sample(200, 4)

    found = by_class(confusion_matrix(proba, y, 4))

    expected = precision_recall_fscore_support(y, proba.argmax(axis=1), labels=range(4))
    assert [(each.precision, each.recall, each.f1, each.support) for each in found] == [
        pytest.approx(row) for row in zip(*expected, strict=True)
    ]


def test_a_class_that_never_occurs_or_is_never_predicted_has_no_figure_rather_than_zero():
    counts = np.array([[2, 0, 1], [0, 0, 0], [0, 0, 0]])

    first, absent, unseen = by_class(counts)

    assert (first.precision, first.recall, first.support) == (1, pytest.approx(2 / 3), 3)
    assert (absent.precision, absent.recall, absent.f1, absent.support) == (None, None, None, 0)
    assert (unseen.precision, unseen.recall, unseen.f1) == (0, None, 0)


def test_the_bins_are_those_of_scikit_learn_and_make_the_calibration_error():
    proba, y = sample(500, 2)
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y

    found = reliability(proba, y, bins=10)

    seen = found.counts > 0
    accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=10)
    assert found.accuracy[seen] == pytest.approx(accuracy)
    assert found.confidence[seen] == pytest.approx(mean_confidence)
    gaps = np.abs(found.accuracy - found.confidence)[seen] * found.counts[seen]
    assert gaps.sum() / 500 == pytest.approx(ece(proba, y, bins=10))


def test_mistakes_are_sorted_by_confidence_and_exclude_correct_rows():
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.01, 0.99], [0.7, 0.3]])
    y = np.array([1, 1, 1, 0, 0])

    assert confident_mistakes(proba, y, 10).tolist() == [3, 0, 1]
    assert confident_mistakes(proba, y, 2).tolist() == [3, 0]
    assert confident_mistakes(proba[2:3], y[2:3], 2).tolist() == []
