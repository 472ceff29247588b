"""Which members count toward the quorum, and the message if there are too few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from quorate.ensemble.quorum import QuorumError, check_quorum, common_folds, coverage

FINISHED = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("need_folds", "expected"),
    [(1, [True, True, False]), (2, [True, True, False]), (3, [True, False, False])],
)
def test_a_member_counts_with_enough_folds(need_folds, expected):
    assert coverage(mask_by_fold=FINISHED, need_folds=need_folds).tolist() == expected


def test_a_met_quorum_gives_no_message():
    check_quorum(counted=np.array([True, True, False]), need=2, names=["svm", "cnn", "forest"])


def test_a_missed_quorum_names_who_is_missing():
    with pytest.raises(QuorumError) as caught:
        check_quorum(counted=np.array([True, False, False]), need=2, names=["svm", "cnn", "forest"])

    assert str(caught.value) == (
        "no quorum: only 1 of 3 members have enough folds, but 2 are required; missing: cnn, forest"
    )


def common(finished: list[str], need: int, *, enough: int) -> list[int]:
    """The folds chosen where each string has a 1 for every fold that a member has finished."""
    mask = np.array([[mark == "1" for mark in row] for row in finished])
    return np.flatnonzero(common_folds(finished=mask, need=need, enough=lambda folds: folds.sum() >= enough)).tolist()


@pytest.mark.parametrize(
    ("finished", "need", "enough", "expected"),
    [
        (["111", "111"], 1, 3, [0, 1, 2]),
        (["110", "100", "110", "110"], 2, 1, [0]),  # the folds of all are enough: nobody is left out
        (["110", "100", "110", "110"], 2, 2, [0, 1]),  # one is left out for a second fold
        (["111", "100", "110", "110"], 2, 3, [0, 1]),  # two must stay: three folds are not to be had
        (["111", "100", "110", "110"], 1, 3, [0, 1, 2]),
        (["11100", "11100", "10011"], 2, 3, [0, 1, 2]),
        (["000", "110", "100"], 2, 1, [0]),  # who has none is left out at once
        (["101", "011", "001"], 3, 3, [2]),
        (["100", "010", "001"], 2, 1, [0, 1, 2]),  # no two share a fold: all, and the quorum is missed
    ],
)
def test_the_common_folds_are_used_if_there_are_enough_and_otherwise_the_slowest_members_are_left_out(
    finished, need, enough, expected
):
    assert common(finished, need, enough=enough) == expected


def test_for_nested_folds_the_common_folds_are_the_best_of_all_choices():
    """Against every subset of members, where folds were finished in their order, as they are under a budget."""
    for counts in itertools.product(range(4), repeat=4):
        rows = ["1" * count + "0" * (3 - count) for count in counts]
        most = max((min(group) for group in itertools.combinations(counts, 2)), default=0)

        assert len(common(rows, 2, enough=3)) == (most or 3), counts
