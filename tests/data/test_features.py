"""Encoded columns against values computed by hand; fitted statistics use only the rows of the fold."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import skops.io
from scipy.stats import norm
from tests.tiny import tiny_data

from quorate.data.dataset import Dataset
from quorate.data.features import fit_features, load_features
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table

NAN = np.nan
COLUMNS = TableSignature(
    (
        Column("length", "numeric"),
        Column("colour", "categorical"),
        Column("ripe", "boolean"),
        Column("empty", "numeric"),
        Column("blank", "categorical"),
        Column("same", "numeric"),
    )
)
ENCODINGS = ("onehot", "ordinal", "index")
SCHEMES = ("none", "feature", "quantile")


def table(**columns: list) -> Table:
    return Table.of(pd.DataFrame(columns), COLUMNS)


TRAIN = table(
    length=[1.0, 3.0, None, 8.0],
    colour=["red", "blue", "red", None],
    ripe=[True, False, None, True],
    empty=[None] * 4,
    blank=[None] * 4,
    same=[7.0] * 4,
)
OTHER = table(
    length=[2.0, None],
    colour=["green", None],
    ripe=[None, False],
    empty=[5.0, None],
    blank=["now", None],
    same=[8.0, None],
)


def features_of(train: Table, rows: Table, **how) -> np.ndarray:
    return fit_features(train, **how)(rows)


def test_one_hot_columns_follow_the_imputed_numbers_and_the_marks_of_what_was_missing():
    # numbers: median 3 of 1, 3, 8; ripe 1 of 1, 0, 1; columns without two values are 0; marks of length and ripe;
    # then blue, red, missing colour, and missing blank
    found = features_of(TRAIN, TRAIN, standardize="none", encoding="onehot")

    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found,
        [
            [1, 1, 0, 0, 0, 0, 0, 1, 0, 1],
            [3, 0, 0, 0, 0, 0, 1, 0, 0, 1],
            [3, 1, 0, 0, 1, 1, 0, 1, 0, 1],
            [8, 1, 0, 0, 0, 0, 0, 0, 1, 1],
        ],
    )


def test_one_hot_columns_of_an_unknown_category_are_all_zero():
    found = features_of(TRAIN, OTHER, standardize="none", encoding="onehot")

    np.testing.assert_array_equal(
        found,
        [
            [2, 1, 0, 0, 0, 1, 0, 0, 0, 0],
            [3, 0, 0, 0, 1, 0, 0, 0, 1, 1],
        ],
    )


def test_trees_get_numbers_with_their_gaps_and_positions_of_categories():
    train, other = (features_of(TRAIN, rows, standardize="none", encoding="ordinal") for rows in (TRAIN, OTHER))

    # length is counted from its median 3 in steps of 4, the power of two nearest to the distances 2 and 5 in the middle
    np.testing.assert_array_equal(
        train,
        [[-0.5, 1, 0, 0, 1, NAN], [0, 0, 0, 0, 0, NAN], [NAN, NAN, 0, 0, 1, NAN], [1.25, 1, 0, 0, NAN, NAN]],
    )
    np.testing.assert_array_equal(other, [[-0.25, NAN, 0, 0, NAN, NAN], [NAN, 0, 0, NAN, NAN, NAN]])


def test_embeddings_get_zero_for_missing_one_for_unknown_and_the_known_from_two_on():
    features = fit_features(TRAIN, standardize="none", encoding="index")

    assert features.cardinalities == (4, 2)
    np.testing.assert_array_equal(features(TRAIN)[:, -2:], [[3, 0], [2, 0], [3, 0], [0, 0]])
    np.testing.assert_array_equal(features(OTHER)[:, -2:], [[1, 1], [0, 0]])


def test_a_category_that_is_missing_only_later_is_missing_and_not_unknown():
    train = table(**{name: [1, 0] if name != "colour" else ["red", "blue"] for name in COLUMNS.names()})

    features = fit_features(train, standardize="none", encoding="index")

    assert features(OTHER)[:, -2].tolist() == [1, 0]


def test_features_are_scaled_by_mean_and_deviation_after_the_gaps_are_filled():
    found = features_of(TRAIN, TRAIN, standardize="feature", encoding="onehot")

    length = np.array([1, 3, 3, 8])
    np.testing.assert_allclose(found[:, 0], (length - 3.75) / length.std(), rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], (np.array([1, 0, 1, 1]) - 0.75) / np.sqrt(0.75 * 0.25), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 2:4], 0)
    np.testing.assert_array_equal(found[:, 7:], features_of(TRAIN, TRAIN, standardize="none", encoding="onehot")[:, 7:])


def test_numbers_for_trees_are_scaled_by_the_values_that_are_not_missing():
    found = features_of(TRAIN, TRAIN, standardize="feature", encoding="ordinal")

    there = np.array([1, 3, 8])
    np.testing.assert_allclose(found[[0, 1, 3], 0], (there - 4) / there.std(), rtol=1e-6)
    assert np.isnan(found[2, 0])


def test_quantiles_make_a_skewed_column_normal_and_a_boolean_one_standard():
    # given: a column of 999 values whose ranks are known
    values = np.exp(np.linspace(0, 9, 999))
    rows = table(**{name: values if name == "length" else np.arange(999) % 2 for name in COLUMNS.names()})

    # when
    found = features_of(rows, rows, standardize="quantile", encoding="onehot")

    # then: the normal distribution's quantile of the rank, its ends cut by scikit-learn at 1e-7
    ranks = norm.ppf(np.linspace(0, 1, 999).clip(1e-7, 1 - 1e-7))
    np.testing.assert_allclose(found[:, 0], (ranks - ranks.mean()) / ranks.std(), atol=2e-3)
    half = np.arange(999) % 2
    np.testing.assert_allclose(found[:, 1], (half - half.mean()) / half.std(), atol=1e-5)


def test_the_quantiles_of_many_rows_are_the_same_every_time():
    values = np.random.default_rng(0).normal(size=150_000)
    rows = Table.of(pd.DataFrame({"a": values}), TableSignature((Column("a", "numeric"),)))

    first, second = (features_of(rows, rows, standardize="quantile", encoding="onehot") for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("encoding", "scheme"), list(itertools.product(ENCODINGS, SCHEMES)))
def test_columns_without_values_or_with_one_value_only_give_no_warning_and_no_infinity(encoding, scheme):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = fit_features(TRAIN, standardize=scheme, encoding=encoding)
        found = np.concatenate([features(TRAIN), features(OTHER)])

    assert not np.isinf(found).any()
    assert encoding == "ordinal" or np.isfinite(found).all()


def numbers(values) -> Table:
    return Table.of(pd.DataFrame({"a": values}), TableSignature((Column("a", "numeric"),)))


@pytest.mark.parametrize(
    "values",
    [
        1.7e9 + np.arange(2000) / 8,
        1e-9 * np.arange(2000),
        np.append(np.arange(2000.0), 1e29),
        np.where(np.arange(4000) % 2, 0, 1.7e9 + np.arange(4000)),
        1e-300 * np.arange(2000),
        -1e30 + 1e25 * np.arange(2000),
    ],
    ids=["seconds since 1970", "nanometres", "with an outlier", "seconds, or 0 for never", "tiny", "huge"],
)
def test_trees_can_distinguish_all_values_of_a_column_whatever_its_offset_and_scale(values):
    # given: trees of scikit-learn do not split between features that differ by less than 1e-7
    found = features_of(numbers(values), numbers(values), standardize="none", encoding="ordinal")[:, 0]

    # then
    order = np.argsort(values, kind="stable")
    distinct = np.diff(values[order]) > 0
    assert (np.diff(found[order].astype(np.float64)) > 1e-7)[distinct].all()


@pytest.mark.parametrize("scheme", ["feature", "quantile", "robust", "pca"])
def test_scaled_features_do_not_depend_on_the_offset_and_scale_of_their_columns(scheme):
    values = np.random.default_rng(0).normal(size=500)

    plain = features_of(numbers(values), numbers(values), standardize=scheme, encoding="onehot")
    small = features_of(numbers(1e-9 * values), numbers(1e-9 * values), standardize=scheme, encoding="onehot")
    far = features_of(numbers(1e6 + values), numbers(1e6 + values), standardize=scheme, encoding="onehot")

    np.testing.assert_allclose(small, plain, atol=1e-5)
    np.testing.assert_allclose(far, plain, atol=1e-5)


@pytest.mark.parametrize(("encoding", "scheme"), list(itertools.product(ENCODINGS, [*SCHEMES, "robust", "pca"])))
def test_features_stay_finite_where_new_numbers_are_far_from_those_of_the_fold(encoding, scheme):
    train, new = numbers(1e-200 * np.arange(50)), numbers([1e30, -1e30])

    features = fit_features(train, standardize=scheme, encoding=encoding)

    assert np.isfinite(features(new)).all() and np.isfinite(np.square(features(new))).all()


def test_features_saved_before_columns_had_an_origin_are_read_as_they_were(tmp_path):
    features = fit_features(TRAIN, standardize="feature", encoding="onehot")
    saved = features.save(tmp_path)
    plain = features.encoder.transform(
        TRAIN.frame.assign(**{name: TRAIN.frame[name].astype(object) for name in TRAIN.signature.names("categorical")})
    )

    before = load_features(tmp_path, {key: value for key, value in saved.items() if key != "origin"})

    np.testing.assert_array_equal(before(TRAIN), plain.astype(np.float32))


def test_rare_categories_share_a_code():
    # given: 400 categories, of which 300 come once and 100 twice
    names = [f"c{i:03}" for i in range(400)] + [f"c{i:03}" for i in range(100)]
    rows = Table.of(pd.DataFrame({"a": [*names, None]}), TableSignature((Column("a", "categorical"),)))

    # when
    onehot, ordinal, index = (fit_features(rows, standardize="none", encoding=encoding) for encoding in ENCODINGS)

    # then: gradient boosting takes 255 categories at most
    assert onehot.width <= 65
    codes = ordinal(rows)[:, 0]
    assert np.isnan(codes[-1]) and not np.isnan(codes[:-1]).any()
    assert np.nanmax(codes) < ordinal.cardinalities[0] <= 254
    assert len(np.unique(codes[:100])) == 100, "the frequent ones keep their own"
    assert index.cardinalities == (402,)
    assert sorted(set(index(rows)[:, 0])) == [0, *range(2, 402)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_rows_of_other_folds_change_nothing(encoding):
    """Features fitted on other rows differ, and earlier features do not change."""
    values = {"length": [9.0, -4.0], "colour": ["green", "pink"], "empty": [1.0, 2.0]}
    foreign = Table.of(OTHER.frame.assign(**values), COLUMNS)
    frame = pd.concat([TRAIN.frame, foreign.frame], ignore_index=True)
    both = Dataset(Table.of(frame, COLUMNS), np.zeros(6, np.int64), ("a",))

    alone = features_of(TRAIN, TRAIN, standardize="feature", encoding=encoding)
    taken = features_of(both.take(np.arange(4)).x, TRAIN, standardize="feature", encoding=encoding)
    with_all = features_of(both.x, TRAIN, standardize="feature", encoding=encoding)

    np.testing.assert_array_equal(taken, alone)
    assert with_all.shape != alone.shape or not np.array_equal(with_all, alone, equal_nan=True)


@pytest.mark.parametrize(("encoding", "scheme"), list(itertools.product(ENCODINGS, SCHEMES)))
def test_loaded_features_give_the_same_bits_and_contain_only_types_of_scikit_learn(encoding, scheme, tmp_path):
    features = fit_features(TRAIN, standardize=scheme, encoding=encoding)

    loaded = load_features(tmp_path, features.save(tmp_path))

    for rows in (TRAIN, OTHER):
        np.testing.assert_array_equal(loaded(rows), features(rows))
    assert (loaded.width, loaded.cardinalities, loaded.signature) == (
        features.width,
        features.cardinalities,
        features.signature,
    )
    assert set(skops.io.get_untrusted_types(file=tmp_path / "encoder.skops")) <= {"numpy.dtype"}


def test_loaded_features_of_pixels_give_the_same_bits(tmp_path):
    images = tiny_data().x
    features = fit_features(images, standardize="feature", encoding="onehot")

    loaded = load_features(tmp_path, features.save(tmp_path))

    np.testing.assert_array_equal(loaded(images), features(images))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_read_only_frames_can_be_encoded(encoding):
    """Ray gives read-only arrays."""
    frame = TRAIN.frame.copy()
    for name in COLUMNS.names("numeric", "boolean"):
        values = frame[name].to_numpy().copy()
        values.flags.writeable = False
        frame[name] = pd.Series(values, copy=False)
    before = frame.copy(deep=True)

    found = features_of(Table(frame, COLUMNS), Table(frame, COLUMNS), standardize="quantile", encoding=encoding)

    np.testing.assert_array_equal(found, features_of(TRAIN, TRAIN, standardize="quantile", encoding=encoding))
    pd.testing.assert_frame_equal(frame, before)


def test_a_table_as_large_as_adult_is_encoded_within_seconds():
    # given: 32,000 rows of 6 numbers and 8 categories, as in the UCI's adult
    random = np.random.default_rng(0)
    numbers = {f"n{i}": random.normal(size=32_000) for i in range(6)}
    texts = {f"c{i}": random.choice([f"v{j}" for j in range(5 * i + 2)], 32_000) for i in range(8)}
    columns = [Column(n, "numeric") for n in numbers] + [Column(t, "categorical") for t in texts]
    rows = Table.of(pd.DataFrame(numbers | texts), TableSignature(tuple(columns)))

    # when
    started = time.process_time()
    features_of(rows, rows, standardize="quantile", encoding="onehot")

    # then: .4 s was measured
    assert time.process_time() - started < 3


EARLIER = {"1": "1.0", "2": "2.0", "True": "TRUE", "x": "x"}
"""Spellings of categories in earlier versions, which used the texts of a table unchanged."""
CODES = TableSignature((Column("code", "categorical"),))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_features_saved_with_earlier_spellings_know_their_categories(encoding, tmp_path):
    rows = Table.of(pd.DataFrame({"code": ["2", "x", None, "1", "True"]}), CODES)
    features = fit_features(rows, standardize="none", encoding=encoding)
    expected = features(rows)
    new = Table.of(pd.DataFrame({"code": ["2.0", "x", None, 1.0, "TRUE"]}, dtype=object), CODES)

    held = features.encoder.named_transformers_["categories"].categories_[0]
    held[:] = [EARLIER.get(text, text) for text in held]
    loaded = load_features(tmp_path, features.save(tmp_path))

    np.testing.assert_array_equal(loaded(new), expected)


def test_features_saved_with_two_spellings_of_one_value_are_refused(tmp_path):
    rows = Table.of(pd.DataFrame({"code": ["1", "1.0", "v2"]}), TableSignature((Column("code", "categorical", True),)))
    saved = fit_features(rows, standardize="none", encoding="onehot").save(tmp_path)

    with pytest.raises(
        ValueError, match=r"'code' with the categories '1' and '1\.0', .* one value, '1'; train the ens"
    ):
        load_features(tmp_path, saved | {"input": CODES.to_json()})
    np.testing.assert_array_equal(load_features(tmp_path, saved)(rows), np.eye(3))
