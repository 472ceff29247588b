"""Predictions of the folds are combined row by row, and missing rows are masked."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tiny import plan_of, tiny_data, two_folds

from quorate.data.folds import Fold, Folds
from quorate.results.oof import gather
from quorate.results.results import Fit


def proba(seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), rows).astype(np.float32)


def fits_of(plan, *, but: tuple[tuple[str, int], ...] = ()) -> dict[str, Fit]:
    """A different prediction of each task, those in `but` (label, fold) left out."""
    folds = plan.context.folds
    return {
        task.key: Fit(task, proba(i, len(folds[task.fold].valid)), [], 1.0, {}, reused=False)
        for i, task in enumerate(plan.tasks)
        if (task.label, task.fold) not in but
    }


def test_each_row_gets_the_prediction_of_the_fold_that_validated_it():
    plan = plan_of("{a: svm, b: {kind: logistic, copies: 2}}")
    fits = fits_of(plan)

    gathered = gather(plan, fits, {})

    assert gathered.proba.shape == (3, 40, 3) and gathered.proba.dtype == np.float32
    assert gathered.mask.all() and gathered.folds.all() and gathered.test is None
    for m, label in enumerate(plan.labels):
        for task in plan.of(label):
            valid = plan.context.folds[task.fold].valid
            np.testing.assert_array_equal(gathered.proba[m, valid], fits[task.key].valid)


def test_a_missing_fold_leaves_its_rows_masked():
    plan = plan_of("{a: svm, b: logistic}")

    gathered = gather(plan, fits_of(plan, but=(("b", 1),)), {})

    assert gathered.mask[0].all()
    np.testing.assert_array_equal(np.flatnonzero(~gathered.mask[1]), plan.context.folds[1].valid)
    assert (gathered.proba[~gathered.mask] == 0).all()
    np.testing.assert_array_equal(gathered.folds, [[True, True], [True, False]])


def test_repeats_are_averaged_and_a_row_counts_only_if_all_of_them_predicted_it():
    # given: two repeats of two folds
    half = two_folds()
    even, odd = np.arange(0, 40, 2), np.arange(1, 40, 2)
    plan = plan_of("{a: svm}", folds=Folds((*half.folds, Fold(odd, even), Fold(even, odd)), "twice"))
    fits = fits_of(plan)

    # when
    whole, part = gather(plan, fits, {}), gather(plan, fits_of(plan, but=(("a", 3),)), {})

    # then
    by_hand = np.zeros((40, 3))
    for task in plan.tasks:
        by_hand[plan.context.folds[task.fold].valid] += fits[task.key].valid / 2.0
    np.testing.assert_allclose(whole.proba[0], by_hand, atol=1e-7)
    np.testing.assert_array_equal(np.flatnonzero(part.mask[0]), even)
    np.testing.assert_array_equal(part.proba[0, even], whole.proba[0, even])


def test_rows_that_no_fold_validates_are_masked():
    holdout = Folds((Fold(np.arange(30), np.arange(30, 40)),), "holdout")
    plan = plan_of("{a: svm}", folds=holdout)

    gathered = gather(plan, fits_of(plan), {})

    np.testing.assert_array_equal(np.flatnonzero(gathered.mask[0]), np.arange(30, 40))


def test_test_probabilities_are_the_average_of_the_finished_folds():
    # given
    plan = plan_of("{a: svm, b: logistic}", test=tiny_data(rows=7, seed=9))
    fits = fits_of(plan, but=(("b", 0),))
    tests = {task.key: proba(100 + i, 7) for i, task in enumerate(plan.tasks)}

    # when
    gathered = gather(plan, fits, tests)

    # then
    a0, a1, _, b1 = (tests[task.key] for task in plan.tasks)
    assert gathered.test is not None
    assert gathered.test[0] == pytest.approx((a0 + a1) / 2, abs=1e-7)
    np.testing.assert_array_equal(gathered.test[1], b1)
