"""Calibration errors and the parts of the Brier score, against readings of their formulas row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from tests.ensemble.samples import labels, member

from quorate.ensemble.calibration_error import brier_parts, classwise_ece
from quorate.ensemble.metrics import brier

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, *, rows: int = 200, classes: int = 3):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=classes)
    return member(rng, y, classes=classes, skill=1.2, sharpness=2.5), y


@pytest.mark.parametrize("seed", range(3))
def test_the_classwise_error_is_the_mean_of_each_class_in_sorted_slices(seed):
    proba, y = sample(seed, rows=300)

    expected = []
    for k in range(3):
        order = np.argsort(proba[:, k])
        slices = [order[i : i + 30] for i in range(0, 300, 30)]
        expected.append(sum(abs((y[part] == k).sum() - proba[part, k].sum()) for part in slices) / 300)

    assert classwise_ece(proba, y, bins=10) == pytest.approx(np.mean(expected), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 400), st.integers(2, 6), st.integers(1, 20))
def test_the_parts_of_the_brier_score_give_it_exactly(seed, rows, classes, bins):
    proba, y = sample(seed, rows=rows, classes=classes)

    parts = brier_parts(proba, y, bins=bins)

    assert parts.score == pytest.approx(brier(proba, y), abs=1e-10)
    assert parts.reliability >= 0 and parts.uncertainty >= 0


def test_the_whole_score_is_that_of_scikit_learn():
    proba, y = sample(0)

    assert brier_parts(proba, y).score == pytest.approx(brier_score_loss(y, proba, scale_by_half=False), abs=1e-10)


def test_frequencies_as_a_forecast_have_no_resolution_and_a_calibrated_one_is_reliable():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 50_000)
    y = (rng.random((50_000, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    base = np.bincount(y) / len(y)

    constant, calibrated = brier_parts(np.tile(base, (len(y), 1)), y), brier_parts(truth, y)

    assert constant.resolution == pytest.approx(0, abs=1e-12) and constant.reliability == pytest.approx(0, abs=1e-12)
    assert calibrated.reliability < 1e-3 < calibrated.resolution
