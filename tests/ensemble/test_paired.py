"""The paired difference of two losses, against SciPy and by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from quorate.ensemble.paired import paired_difference, read_groups, read_losses, standard_error
from quorate.job.bundle_files import losses_file


def test_the_difference_and_its_error_are_those_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.exponential(size=50), rng.exponential(size=50)

    found = paired_difference(first, second)

    reference = stats.ttest_rel(first, second)
    assert found.rows == 50
    assert found.mean / found.standard_error == pytest.approx(reference.statistic)


def test_rows_that_one_ensemble_does_not_cover_are_left_out() -> None:
    # differences 1 and 3: mean 2, standard deviation sqrt(2), error 1
    found = paired_difference(np.array([2, np.nan, 4, 7.0]), np.array([1, 5, 1, np.nan]))

    assert (found.mean, found.standard_error, found.rows) == (2, pytest.approx(1), 2)


@pytest.mark.parametrize(
    ("second", "message"), [([1.0, 2.0, 3.0], "must be the same, not 2 and 3"), ([1.0, np.nan], "only 1 rows")]
)
def test_losses_that_cannot_be_paired_are_refused(second: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(np.array([1.0, 2.0]), np.array(second))


def test_the_clustered_standard_error_equals_a_manual_calculation() -> None:
    # differences 1, 3 | 5 | 7, 9 with mean 5: the groups' sums of deviations are -6, 0, 6, so their squares' sum is 72;
    # sqrt(3 / 2 * 72) / 5
    first, groups = np.array([1.0, 3, 5, 7, 9]), np.array([4, 4, 0, 7, 7])

    found = paired_difference(first, np.zeros(5), groups=groups)

    assert found.mean == 5
    assert found.standard_error == pytest.approx(math.sqrt(108) / 5)


def test_the_error_is_the_sandwich_of_a_regression_on_a_constant() -> None:
    # Liang and Zeger: (X'X)^-1 (sum over groups of X_g' u_g u_g' X_g) (X'X)^-1, with X a column of ones
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 12, 90)
    values = rng.normal(size=12)[groups] + rng.normal(size=90)
    ones, bread, meat = np.ones((90, 1)), np.linalg.inv(np.ones((1, 90)) @ np.ones((90, 1))), np.zeros((1, 1))
    for group in range(12):
        own = (ones[groups == group] * (values - values.mean())[groups == group, None]).sum(axis=0)
        meat += np.outer(own, own)
    sandwich = float((bread @ meat @ bread)[0, 0])

    found = standard_error(values, groups=groups)

    assert found == pytest.approx(math.sqrt(12 / 11 * sandwich))


def test_groups_of_one_row_change_nothing_and_duplicated_rows_add_no_information() -> None:
    values = np.random.default_rng(0).exponential(size=40)

    alone = standard_error(values, groups=np.arange(40))
    doubled = standard_error(np.repeat(values, 3), groups=np.repeat(np.arange(40), 3))

    assert alone == pytest.approx(standard_error(values))
    assert doubled == pytest.approx(standard_error(values))


def test_the_error_is_the_spread_of_the_mean_over_drawn_groups() -> None:
    # 40 groups of 5 rows, of which two thirds of the variance are the group's
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    drawn = np.sqrt(2) * rng.normal(size=(2000, 40))[:, groups] + rng.normal(size=(2000, 200))

    errors = [standard_error(values, groups=groups) for values in drawn]

    assert np.mean(errors) == pytest.approx(drawn.mean(axis=1).std(), rel=0.05)
    assert standard_error(drawn[0]) < 0.7 * np.mean(errors)


def test_with_one_group_there_is_no_standard_error() -> None:
    found = paired_difference(np.array([1.0, 2, 4]), np.zeros(3), groups=np.zeros(3, int))

    assert found.standard_error == math.inf


def test_the_losses_in_a_bundle_contain_the_groups_of_the_rows(tmp_path: Path) -> None:
    losses, groups = np.array([0.5, np.nan, 1.0]), np.array([3, 3, 8])
    (tmp_path / "with.npz").write_bytes(losses_file(losses, groups))
    (tmp_path / "without.npz").write_bytes(losses_file(losses))

    np.testing.assert_array_equal(read_losses(tmp_path / "with.npz"), losses)
    np.testing.assert_array_equal(read_groups(tmp_path / "with.npz"), groups)
    assert read_groups(tmp_path / "without.npz") is None
