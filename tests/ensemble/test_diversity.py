"""Measures of diversity against scikit-learn, hand-worked counts, and the identities that tie them together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef
from tests.ensemble.samples import labels, members

from quorate.ensemble.diversity import brier_ambiguity, pairs
from quorate.ensemble.metrics import brier

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, *, rows: int = 200, skills=(0.5, 1.0, 1.5, 2.0)):
    rng = np.random.default_rng(seed)
    y = labels(rng, rows=rows, classes=3)
    return members(rng, y, classes=3, skills=skills), y


def test_the_measures_of_two_members_equal_a_manual_calculation():
    # given: ten rows of class 0: 5 both right, 2 the first alone, 1 the second, 2 neither, one of them differently
    classes = np.array([[0, 0, 0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 2, 0, 1, 2]])

    found = pairs(proba=np.eye(3)[classes], y=np.zeros(10, np.int64))

    assert found.disagreement[0, 1] == pytest.approx(0.4)
    assert found.double_fault[0, 1] == pytest.approx(0.2)
    assert found.q[0, 1] == pytest.approx((5 * 2 - 2 * 1) / (5 * 2 + 2 * 1))
    assert found.correlation[0, 1] == pytest.approx(8 / np.sqrt(7 * 3 * 6 * 4))


@pytest.mark.parametrize("seed", range(3))
def test_correlation_and_kappa_are_those_of_scikit_learn(seed):
    proba, y = sample(seed)
    right = proba.argmax(axis=2) == y

    found = pairs(proba=proba, y=y)

    for i in range(4):
        for k in range(4):
            assert found.correlation[i, k] == pytest.approx(matthews_corrcoef(right[i], right[k]))
            assert found.kappa[i, k] == pytest.approx(cohen_kappa_score(right[i], right[k]))


def test_the_measures_are_symmetric_and_a_member_never_disagrees_with_itself():
    found = pairs(proba=sample(0)[0], y=sample(0)[1])

    for measure in vars(found).values():
        np.testing.assert_allclose(measure, measure.T)
    assert np.diag(found.disagreement).tolist() == [0] * 4
    np.testing.assert_allclose(np.diag(found.q), 1)


def test_a_member_that_is_always_right_has_no_correlation():
    proba, y = sample(0)
    proba[0] = np.eye(3)[y]

    found = pairs(proba=proba, y=y)

    assert np.isnan(found.correlation[0]).all() and np.isnan(found.kappa[0]).all()
    assert np.isfinite(found.correlation[1:, 1:]).all()


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_the_loss_of_an_average_is_the_mean_loss_minus_the_ambiguity(seed):
    proba, y = sample(seed)
    weights = np.random.default_rng(seed).dirichlet(np.ones(4))

    squared = brier_ambiguity(proba=proba, weights=weights, y=y)

    assert squared.ensemble == pytest.approx(brier(np.tensordot(weights, proba, axes=1), y), abs=1e-10)
    assert squared.ambiguity >= 0


def test_members_that_are_equal_have_no_ambiguity():
    proba, y = sample(0)
    same = np.stack([proba[0]] * 3)

    assert brier_ambiguity(proba=same, weights=np.full(3, 1 / 3), y=y).ambiguity == pytest.approx(0, abs=1e-12)
