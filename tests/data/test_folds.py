"""Folds are stratified, grouped or in time order, disjoint, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit, train_test_split

from quorate.data.folds import Fold, Folds, FoldsError, learnable_rows, unlearnable_classes
from quorate.data.splitting import latest_rows, make_folds, whole_groups
from quorate.spec import ValidationSpec

Y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 15]))


def same(a: Folds, b: Folds) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.train, y.train) and np.array_equal(x.valid, y.valid)
        for x, y in zip(a.folds, b.folds, strict=True)
    )


@pytest.mark.parametrize("spec", [{"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}, {"repeats": 3}], ids=str)
def test_no_fold_validates_a_row_that_it_trains_on_and_each_has_all_rows(spec):
    for fold in make_folds(Y, ValidationSpec(**spec), seed=1).folds:
        rows = np.concatenate([fold.train, fold.valid])

        np.testing.assert_array_equal(np.sort(rows), np.arange(len(Y)))
        for part in (fold.train, fold.valid):
            np.testing.assert_array_equal(part, np.sort(part))


def test_k_folds_validate_every_row_once():
    folds = make_folds(Y, ValidationSpec(scheme="kfold", folds=5), seed=1)

    assert len(folds) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.valid for fold in folds.folds])), np.arange(len(Y)))
    assert folds.reason == "stratified 5-fold cross-validation"


def test_repeats_validate_every_row_equally_often_with_different_folds():
    folds = make_folds(Y, ValidationSpec(scheme="kfold", folds=3, repeats=4), seed=1)

    assert len(folds) == 12
    assert (np.bincount(np.concatenate([fold.valid for fold in folds.folds])) == 4).all()
    assert len({fold.valid.tobytes() for fold in folds.folds}) == 12
    assert folds.reason == "stratified 3-fold cross-validation, 4 times"


@pytest.mark.parametrize("spec", [{"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}], ids=str)
def test_each_class_is_represented_proportionally_in_every_fold(spec):
    for fold in make_folds(Y, ValidationSpec(**spec), seed=1).folds:
        np.testing.assert_array_equal(np.bincount(Y[fold.valid]), [12, 6, 3])


def test_folds_are_those_of_scikit_learn():
    kfold = make_folds(Y, ValidationSpec(scheme="kfold", folds=3), seed=7)
    holdout = make_folds(Y, ValidationSpec(scheme="holdout", fraction=0.25), seed=7)

    expected = StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(7)).split(np.zeros(len(Y)), Y)
    for fold, (_, valid) in zip(kfold.folds, expected, strict=True):
        np.testing.assert_array_equal(fold.valid, valid)
    _, valid = train_test_split(np.arange(len(Y)), test_size=0.25, stratify=Y, random_state=np.random.RandomState(7))
    np.testing.assert_array_equal(holdout[0].valid, np.sort(valid))


@pytest.mark.parametrize("scheme", ["kfold", "holdout"])
def test_the_seed_decides_the_folds(scheme):
    spec = ValidationSpec(scheme=scheme, repeats=2)

    assert same(make_folds(Y, spec, seed=3), make_folds(Y, spec, seed=3))
    assert not same(make_folds(Y, spec, seed=3), make_folds(Y, spec, seed=4))
    assert len(make_folds(Y, spec, seed=2**61)) == len(make_folds(Y, spec, seed=3)), "seeds may be large"


@pytest.mark.parametrize(("threshold", "folds", "word"), [(106, 5, "fewer than"), (105, 1, "at least")])
def test_auto_takes_k_fold_below_its_threshold_and_one_holdout_from_there_on(threshold, folds, word):
    made = make_folds(Y, ValidationSpec(auto_rows=threshold), seed=1)

    assert len(made) == folds
    assert made.reason.endswith(f"(auto: 105 training rows, {word} {threshold:,})")


def test_folds_can_be_made_if_a_class_does_not_occur():
    assert len(make_folds(np.where(Y == 1, 5, Y), ValidationSpec(folds=3), seed=1)) == 3


@pytest.mark.parametrize(
    ("counts", "spec", "message"),
    [
        ([20, 3], {"folds": 5}, "5 folds, but the rarest class has 3 rows; set validation.folds to 3 or less"),
        ([20, 1], {"folds": 5}, "5 folds, but the rarest class has 1 row; add rows of this class or remove it"),
        ([20, 1], {"scheme": "holdout"}, "the rarest class has 1 row; a stratified holdout needs at least 2"),
        ([20, 2], {"scheme": "holdout", "fraction": 0.01}, "cannot hold out 0.01 of 22 rows: "),
        ([20], {}, "all training rows have the same class; a classifier needs at least two"),
    ],
    ids=str,
)
def test_labels_that_cannot_be_split_are_refused_with_the_fix(counts, spec, message):
    y = np.repeat(np.arange(len(counts)), counts)

    with pytest.raises(ValueError) as caught:
        make_folds(y, ValidationSpec(**spec), seed=1)

    assert message in str(caught.value)


# Groups

GROUPS = np.random.default_rng(1).integers(0, 20, len(Y))
GROUPED = [{"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}, {"repeats": 3, "folds": 3}]


@pytest.mark.parametrize("spec", GROUPED, ids=str)
def test_no_group_is_on_both_sides_of_a_fold(spec):
    folds = make_folds(Y, ValidationSpec(**spec), seed=1, groups=GROUPS)

    for fold in folds.folds:
        assert set(GROUPS[fold.train]).isdisjoint(GROUPS[fold.valid])
        rows = np.concatenate([fold.train, fold.valid])
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(Y)))
        np.testing.assert_array_equal(fold.valid, np.sort(fold.valid))
    assert "whole groups" in folds.reason


def test_grouped_folds_are_those_of_scikit_learn():
    made = make_folds(Y, ValidationSpec(scheme="kfold", folds=4), seed=7, groups=GROUPS)
    held = make_folds(Y, ValidationSpec(scheme="holdout", fraction=0.25), seed=7, groups=GROUPS)

    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=np.random.RandomState(7))
    expected = [valid for _, valid in splitter.split(np.zeros(len(Y)), Y, GROUPS)]
    assert len(made) == 4
    for fold, valid in zip(made.folds, expected, strict=True):
        np.testing.assert_array_equal(fold.valid, valid)
    np.testing.assert_array_equal(held[0].valid, expected[0])
    assert made.reason == "stratified 4-fold cross-validation in whole groups (20 groups)"
    groups, part = len(set(GROUPS[expected[0]])), f"{len(expected[0]) / len(Y):.0%}"
    assert held.reason == f"one stratified holdout fold of whole groups: {part} of the rows, {groups} of 20 groups"


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.5, 0.8])
def test_a_held_out_part_of_whole_groups_has_about_the_requested_fraction(fraction):
    _, part = whole_groups(Y, GROUPS, fraction, np.random.RandomState(0))

    assert abs(len(part) / len(Y) - fraction) < 0.1


def test_repeated_grouped_folds_differ():
    folds = make_folds(Y, ValidationSpec(folds=3, repeats=2), seed=1, groups=GROUPS)

    assert len({fold.valid.tobytes() for fold in folds.folds}) == 6
    assert (np.bincount(np.concatenate([fold.valid for fold in folds.folds])) == 2).all()
    assert same(folds, make_folds(Y, ValidationSpec(folds=3, repeats=2), seed=1, groups=GROUPS))


def test_a_class_with_a_single_group_is_missing_from_the_training_rows_of_that_fold_and_reported():
    y = np.repeat([0, 1, 0, 1, 2], 4)
    groups = np.repeat([0, 1, 2, 3, 4], 4)  # all of class 2 is one group

    folds = make_folds(y, ValidationSpec(scheme="kfold", folds=3), seed=1, groups=groups)

    (without,) = (i for i, fold in enumerate(folds.folds, 1) if 2 not in y[fold.train])
    assert folds.reason.endswith(f"; the training rows of fold {without} lack 1 of the 3 classes")


# Time

TIME = np.random.default_rng(2).permutation(len(Y)).astype(float)
"""All different."""
TIED = np.random.default_rng(2).integers(0, 25, len(Y)).astype(float)


def test_folds_in_the_order_of_time_are_those_of_scikit_learn():
    made = make_folds(Y, ValidationSpec(scheme="kfold", folds=4), seed=7, time=TIME)

    order = np.argsort(TIME)
    for fold, (train, valid) in zip(made.folds, TimeSeriesSplit(4).split(order), strict=True):
        np.testing.assert_array_equal(fold.train, np.sort(order[train]))
        np.testing.assert_array_equal(fold.valid, np.sort(order[valid]))
    assert made.reason == (
        "4 folds in time order, each trained on all earlier rows; the earliest 20% of the rows are never used for "
        "validation"
    )


@pytest.mark.parametrize("spec", [{"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}], ids=str)
def test_no_row_is_validated_by_a_model_trained_on_its_time_or_a_later_one(spec):
    folds = make_folds(Y, ValidationSpec(**spec), seed=1, time=TIED)

    for fold in folds.folds:
        assert TIED[fold.train].max() < TIED[fold.valid].min()
    valid = np.concatenate([fold.valid for fold in folds.folds])
    assert len(set(valid)) == len(valid), "each row is validated once"
    assert set(valid) == set(np.flatnonzero(TIED[valid].min() <= TIED)), "and all from the first border on"


def test_the_holdout_of_ordered_rows_takes_the_last_rows():
    folds = make_folds(Y, ValidationSpec(scheme="holdout", fraction=0.2), seed=1, time=TIME)

    np.testing.assert_array_equal(folds[0].valid, np.flatnonzero(TIME >= 84))  # the last 21 of 105
    assert folds.reason == "one holdout fold, the latest 20% of the rows"


@pytest.mark.parametrize(
    ("time", "early"),
    [([1, 1, 2, 2, 2, 3], 2), ([1, 1, 1, 1, 1, 2], 5), ([2, 1, 1, 2, 2, 2], 2), ([1, 2, 2, 2, 2, 2], 1)],
)
def test_rows_with_equal_times_stay_together(time, early):
    train, valid = latest_rows(np.array(time, float), 0.5)

    assert len(train) == early
    assert max(time[i] for i in train) < min(time[i] for i in valid)


def test_time_ordered_folds_do_not_depend_on_the_seed():
    spec = ValidationSpec(scheme="kfold", folds=3)

    assert same(make_folds(Y, spec, seed=1, time=TIED), make_folds(Y, spec, seed=2, time=TIED))


@pytest.mark.parametrize(
    ("given", "spec", "key", "message"),
    [
        (
            {"groups": GROUPS % 4},
            {"folds": 5},
            "folds",
            "5 folds, but the rows have only 4 groups; set validation.folds to 4",
        ),
        ({"groups": GROUPS * 0}, {}, "folds", "all rows belong to one group; leave `groups` out of data"),
        ({"groups": GROUPS * 0}, {"scheme": "holdout"}, "scheme", "all rows belong to one group; at least two"),
        ({"groups": (Y > 0) * 1, "y": (Y > 0) * 1}, {"folds": 2}, "folds", "rows of fold 1 have the same class"),
        ({"time": TIME}, {"repeats": 2}, "repeats", "split in only one way; remove repeats"),
        ({"time": TIED * 0}, {"scheme": "holdout"}, "scheme", "all rows have the same time"),
        ({"time": TIED % 3}, {"folds": 5}, "folds", "require more different times than the 3 of these 105 rows"),
        ({"time": TIME}, {"folds": 200}, "folds", "require more different times than the 105 of these 105 rows"),
        ({"time": Y * 1000 + TIME}, {"folds": 2}, "folds", "all training rows of fold 1 have the same class"),
        ({"time": TIME, "groups": GROUPS}, {}, "scheme", "by groups or by time, not by both"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_groups_and_times_that_cannot_be_split_are_refused_with_the_fix(given, spec, key, message):
    with pytest.raises(FoldsError) as caught:
        make_folds(**({"y": Y} | given), spec=ValidationSpec(**spec), seed=1)

    assert message in str(caught.value)
    assert caught.value.key == key


def test_rows_whose_class_their_fold_does_not_train_on_are_not_learnable():
    # given: class 2 in group 0 only, whose rows 0 to 3 are of classes 2, 2, 0, 1
    y = np.array([2, 2, 0, 1, 0, 1, 0, 1])
    folds = [Fold(np.arange(4, 8), np.arange(4)), Fold(np.arange(4), np.arange(4, 8))]

    learnable = learnable_rows(y, folds)
    (found,) = unlearnable_classes(y, folds, groups=np.array([0, 0, 0, 0, 1, 1, 2, 2]))

    assert learnable.tolist() == [False, False, True, True, True, True, True, True]
    assert (found.label, found.rows, found.folds, found.groups, found.ever) == (2, 2, (0,), 1, True)
    assert found.warning("rare") == (
        "class rare has rows in only one group, which the models of fold 1 do not train on; 2 rows do not count in the "
        "selection and the scores"
    )


def test_with_repeats_a_row_is_learnable_if_all_of_its_folds_train_on_its_class():
    y = np.array([0, 1, 0, 1, 2, 2])
    half, other = Fold(np.arange(3), np.arange(3, 6)), Fold(np.array([0, 1, 5]), np.array([2, 3, 4]))

    assert learnable_rows(y, [half]).tolist() == [True] * 4 + [False, False]
    assert learnable_rows(y, [other]).tolist() == [True] * 6
    assert learnable_rows(y, [half, other]).tolist() == [True] * 4 + [False, False]


def test_training_rows_with_weight_0_do_not_count_as_training_rows():
    y = np.array([0, 1, 2, 0, 1, 2])
    fold = Fold(np.arange(3), np.arange(3, 6))

    learnable = learnable_rows(y, [fold], weight=np.array([1, 1, 0, 1, 1, 1], np.float32))

    assert learnable.tolist() == [True] * 5 + [False]


def test_a_class_that_first_appears_late_counts_from_the_next_fold_on():
    # given: 40 rows in time; class 2 from row 16 on, first validated by the fold of rows 10 to 19
    y, time = np.arange(40) % 2, np.arange(40.0)
    y[16::4] = 2
    folds = make_folds(y, ValidationSpec(scheme="kfold", folds=3), seed=0, time=time)

    (found,) = unlearnable_classes(y, folds.folds)

    assert np.flatnonzero(~learnable_rows(y, folds.folds)).tolist() == [16]
    assert found.ever and found.groups is None
    assert "class late has no training rows in fold 1: the models of this fold cannot learn it; 1 row does not" in (
        found.warning("late")
    )


def test_a_class_that_only_the_held_out_group_has_is_not_learnable():
    y = np.array([0, 1] * 6 + [2, 2])
    fold = Fold(np.arange(12), np.array([10, 11, 12, 13]))

    (found,) = unlearnable_classes(y, [fold])

    assert not found.ever
    assert found.warning("c").endswith("; no model learns this class: add training rows for it")


def test_stratified_folds_have_no_unlearnable_rows():
    for spec in ({"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}, {"repeats": 3}):
        folds = make_folds(Y, ValidationSpec(**spec), seed=1).folds

        assert learnable_rows(Y, folds).all() and unlearnable_classes(Y, folds) == []
