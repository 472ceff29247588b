"""Who counts toward the quorum, and what is said when too few do."""

from __future__ import annotations

import numpy as np
import pytest

from quorate.ensemble.quorum import QuorumError, check_quorum, coverage

FINISHED = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("need_folds", "expected"),
    [(1, [True, True, False]), (2, [True, True, False]), (3, [True, False, False])],
)
def test_a_member_counts_with_enough_folds(need_folds, expected):
    assert coverage(mask_by_fold=FINISHED, need_folds=need_folds).tolist() == expected


def test_a_quorum_that_is_met_is_silent():
    check_quorum(counted=np.array([True, True, False]), need=2, names=["svm", "cnn", "forest"])


def test_a_missed_quorum_names_who_is_missing():
    with pytest.raises(QuorumError) as caught:
        check_quorum(counted=np.array([True, False, False]), need=2, names=["svm", "cnn", "forest"])

    assert str(caught.value) == ("no quorum: 1 of 3 members cover enough folds and 2 are needed; missing: cnn, forest")
