"""Folds are stratified, disjoint, cover every row, and are the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, train_test_split

from quorate.data.folds import Folds, make_folds
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


def test_repeats_validate_every_row_as_often_and_are_drawn_anew():
    folds = make_folds(Y, ValidationSpec(scheme="kfold", folds=3, repeats=4), seed=1)

    assert len(folds) == 12
    assert (np.bincount(np.concatenate([fold.valid for fold in folds.folds])) == 4).all()
    assert len({fold.valid.tobytes() for fold in folds.folds}) == 12
    assert folds.reason == "stratified 3-fold cross-validation, 4 times"


@pytest.mark.parametrize("spec", [{"scheme": "kfold"}, {"scheme": "holdout", "fraction": 0.2}], ids=str)
def test_each_class_has_its_share_of_every_fold(spec):
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


@pytest.mark.parametrize(("threshold", "folds", "word"), [(106, 5, "below"), (105, 1, "at or above")])
def test_auto_takes_k_fold_below_its_threshold_and_one_holdout_from_there_on(threshold, folds, word):
    made = make_folds(Y, ValidationSpec(auto_rows=threshold), seed=1)

    assert len(made) == folds
    assert made.reason.endswith(f"(auto: 105 training rows, {word} {threshold:,})")


def test_a_class_that_does_not_occur_is_no_hindrance():
    assert len(make_folds(np.where(Y == 1, 5, Y), ValidationSpec(folds=3), seed=1)) == 3


@pytest.mark.parametrize(
    ("counts", "spec", "message"),
    [
        ([20, 3], {"folds": 5}, "5 folds, but the rarest class has 3 rows; set validation.folds to 3 or less"),
        ([20, 1], {"folds": 5}, "5 folds, but the rarest class has one row; add rows of it or remove the class"),
        ([20, 1], {"scheme": "holdout"}, "the rarest class has one row; a stratified holdout needs two of each"),
        ([20, 2], {"scheme": "holdout", "fraction": 0.01}, "cannot hold out 0.01 of 22 rows: "),
        ([20], {}, "all training rows are of one class; a classifier needs two or more"),
    ],
    ids=str,
)
def test_labels_that_cannot_be_split_are_refused_with_the_mend(counts, spec, message):
    y = np.repeat(np.arange(len(counts)), counts)

    with pytest.raises(ValueError) as caught:
        make_folds(y, ValidationSpec(**spec), seed=1)

    assert message in str(caught.value)
