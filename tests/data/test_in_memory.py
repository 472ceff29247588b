"""Rows and labels of many types from Python programs, and clear errors."""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import sparse

from quorate import EnsembleClassifier
from quorate.data.labels import python_labels

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(40, 3))
Y = (ROWS[:, 0] > 0).astype(int)
IMAGES = RANDOM.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
IMAGES[Y == 1] //= 2


def fit(X: Any, y: Any = Y) -> EnsembleClassifier:
    return EnsembleClassifier({"bayes": "naive_bayes"}, validation={"folds": 2}).fit(X, y)


@cache
def expected(kind: str) -> np.ndarray:
    """The result for a plain array of these rows."""
    x = {"rows": ROWS, "images": IMAGES}[kind]
    return fit(x).predict_proba(x)


BOOLS, TEXT = Y.astype(bool), np.array(["no", "yes"])[Y]


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (pd.Series(BOOLS).astype("boolean"), [False, True]),
        (pd.Series(Y).astype("Int64"), [0, 1]),
        (pd.Series(Y).astype("UInt8"), [0, 1]),
        (pd.Series(Y).astype("Float64"), [0.0, 1.0]),
        (pd.Series(TEXT).astype("string"), ["no", "yes"]),
        (pd.Series(TEXT).astype("category"), ["no", "yes"]),
        (pd.Series(Y).astype("category"), [0, 1]),
        (pd.Series(BOOLS).astype("category"), [False, True]),
        (pd.Series(BOOLS).astype(object), [False, True]),
        (pd.Series(Y).astype(object), [0, 1]),
        (BOOLS.astype(object), [False, True]),
        (TEXT.astype(object), ["no", "yes"]),
        (pd.array(Y, dtype="Int64"), [0, 1]),
        (pd.Index(TEXT), ["no", "yes"]),
        (Y.tolist(), [0, 1]),
        (TEXT.tolist(), ["no", "yes"]),
        (tuple(BOOLS.tolist()), [False, True]),
        (torch.from_numpy(Y), [0, 1]),
        (Y.astype(">i4"), [0, 1]),
        (Y[::-1][::-1], [0, 1]),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}",
)
def test_labels_of_every_type_give_classes_of_their_own_plain_type(y: Any, classes: list[Any]) -> None:
    plain = np.asarray(python_labels(y))

    found, encoded = np.unique(plain, return_inverse=True)
    assert found.tolist() == classes
    assert [type(name) for name in found.tolist()] == [type(name) for name in classes]
    np.testing.assert_array_equal(encoded, Y)


@pytest.mark.parametrize(
    "y", [pd.Series(BOOLS).astype("boolean"), torch.from_numpy(Y), TEXT.astype(object)], ids=range(3)
)
def test_a_classifier_predicts_labels_of_that_type(y: Any) -> None:
    found = fit(ROWS, y)

    assert set(found.predict(ROWS).tolist()) <= set(found.classes_.tolist())
    assert found.classes_.tolist() in ([False, True], [0, 1], ["no", "yes"])
    np.testing.assert_array_equal(found.predict_proba(ROWS), expected("rows"))


def with_one(value: Any) -> list[Any]:
    return [*Y.tolist()[:-1], value]


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (with_one(None), r"y\[39\] is missing; fill in these labels, or remove their rows"),
        ([*TEXT.tolist()[:-2], None, np.nan], r"y\[38\] is missing \(and 1 more\)"),
        (pd.Series(with_one(None)).astype("Int64"), r"y\[39\] is missing"),
        (pd.Series(TEXT).where(Y == 1, None), r"is missing \(and \d+ more\)"),
        (with_one("1"), "y contains int and str; labels must have one type"),
        (np.array(with_one("1"), object), "y contains int and str; labels must have one type"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.zeros(40, int), "all rows have the class '0'"),
        (ROWS[:, 0], "Unknown label type: continuous"),
        (np.eye(2)[Y], "y should be a 1d array"),
    ],
    ids=range(10),
)
def test_labels_that_cannot_be_used_are_refused_in_plain_words(y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(ROWS, y)


def test_labels_of_bytes_are_refused_as_by_scikit_learn() -> None:
    with pytest.raises(TypeError, match="bytes"):
        fit(ROWS, np.char.encode(TEXT))


@pytest.mark.parametrize(
    "x",
    [
        torch.from_numpy(IMAGES),
        list(IMAGES),
        [Image.fromarray(image) for image in IMAGES],
        np.asfortranarray(IMAGES),
        np.concatenate([IMAGES, IMAGES], axis=2)[:, :, :6],
        np.repeat(IMAGES, 2, axis=0)[::2],
        IMAGES[:, ::-1][:, ::-1],
    ],
    ids=["tensor", "list", "PIL", "Fortran", "sliced", "strided", "reversed"],
)
def test_images_of_every_layout_are_the_same_images(x: Any) -> None:
    np.testing.assert_array_equal(fit(x).predict_proba(x), expected("images"))


def test_images_can_be_read_only_and_memory_mapped(tmp_path: Any) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")

    np.testing.assert_array_equal(fit(mapped).predict_proba(mapped), expected("images"))


@pytest.mark.parametrize(
    "x",
    [
        np.asfortranarray(ROWS),
        ROWS.astype(">f8"),
        np.repeat(ROWS, 2, axis=0)[::2],
        torch.from_numpy(ROWS),
        ROWS.tolist(),
    ],
    ids=["Fortran", "big-endian", "strided", "tensor", "list"],
)
def test_tables_of_every_layout_are_the_same_rows(x: Any) -> None:
    np.testing.assert_array_equal(fit(x).predict_proba(x), expected("rows"))


def test_big_endian_columns_of_a_frame_are_read() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abc"))

    mixed = frame.assign(a=ROWS[:, 0].astype(">f8"), b=frame["b"].astype("Float64"))

    np.testing.assert_array_equal(fit(mixed).predict_proba(mixed), expected("rows"))


def test_a_column_without_values_is_numeric_as_in_an_array() -> None:
    frame = pd.DataFrame(ROWS, columns=list("abc")).assign(b=np.nan, c=None)

    found = fit(frame)

    assert [column.kind for column in found.bundle_.signature.columns] == ["numeric"] * 3  # type: ignore[union-attr]
    assert np.isfinite(found.predict_proba(frame)).all()


FIRST = IMAGES.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((40, 3, 32, 32), np.uint8), r"look like \(n, C, H, W\).*images.transpose\(0, 2, 3, 1\)"),
        (FIRST, r"shape \(40, 3, 6, 6\) look like \(n, C, H, W\)"),
        (np.zeros((40, 1, 8, 8), np.uint8), r"shape \(40, 1, 8, 8\) look like \(n, C, H, W\)"),
        (torch.zeros((40, 3, 8, 8), dtype=torch.uint8), r"look like \(n, C, H, W\)"),
        (IMAGES / 255, r"float64 .*values from 0 to 1: \(255 \* images\).round\(\).astype\('uint8'\)"),
        (IMAGES.astype(np.float32), r"float32 .*values from 0 to 255: images.round"),
        (IMAGES.astype(np.int64), r"int64 .*values from 0 to 255: images"),
        (IMAGES - 300.0, r"its values are from -300 to -45: scale them to 0..255 first"),
        (IMAGES > 99, r"bool .*values from 0 to 1"),
        ([*IMAGES[:-1], IMAGES[0, :5]], "the rows of X differ in shape; all images must have the same size"),
        (ROWS[:, 0], "Expected 2D array, got 1D array instead"),
        (ROWS[:0], "0 sample"),
        (IMAGES[:0], "are empty"),
        (pd.DataFrame({"a": []}), r"shape=\(0, 1\) while a minimum of 1"),
        (pd.DataFrame({"a": [[1, 2]] * 40}), "the column 'a' holds list"),
        (pd.DataFrame({"a": [datetime.date(2024, 1, 1)] * 40}), "the column 'a' holds dates"),
        (ROWS[:-1], "inconsistent numbers of samples"),
        (ROWS + 1j, "[Cc]omplex data not supported"),
        (torch.zeros((40, 3), requires_grad=True), "X cannot be read as an array: .*requires grad"),
    ],
    ids=range(19),
)
def test_rows_that_cannot_be_used_are_refused_in_plain_words(x: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(x)


def test_sparse_rows_are_refused_as_by_scikit_learn() -> None:
    with pytest.raises(TypeError, match="Sparse data was passed"):
        fit(sparse.csr_matrix(ROWS))


def test_one_image_instead_of_a_batch_is_an_error_with_the_fix() -> None:
    ensemble = fit(IMAGES)

    with pytest.raises(ValueError, match=r"this is one image of shape \(6, 6, 3\); pass a batch: image\[None\]"):
        ensemble.predict(IMAGES[0])
