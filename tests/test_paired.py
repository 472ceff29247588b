"""The paired difference of two losses, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from quorate.paired import paired_difference


def test_the_difference_and_its_error_are_those_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.exponential(size=50), rng.exponential(size=50)

    found = paired_difference(first, second)

    reference = stats.ttest_rel(first, second)
    assert found.rows == 50
    assert found.mean / found.standard_error == pytest.approx(reference.statistic)


def test_rows_that_one_of_them_does_not_cover_are_left_out() -> None:
    # differences 1 and 3: mean 2, standard deviation sqrt(2), error 1
    found = paired_difference(np.array([2, np.nan, 4, 7.0]), np.array([1, 5, 1, np.nan]))

    assert (found.mean, found.standard_error, found.rows) == (2, pytest.approx(1), 2)


@pytest.mark.parametrize(
    ("second", "message"), [([1.0, 2.0, 3.0], "for 2 and for 3 rows"), ([1.0, np.nan], "only 1 rows")]
)
def test_losses_that_do_not_pair_are_refused(second: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(np.array([1.0, 2.0]), np.array(second))
