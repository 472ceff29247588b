"""Labels of every type become the classes that they mean, or an error that names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quorate.data.labels import LabelError, encode_labels, plain_labels
from quorate.data.source import DataError
from quorate.data.sources.npz import Npz, NpzParams, read_class_names

PIXELS = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    def save(name: str, labels: Any) -> Path:
        np.savez(tmp_path / name, images=PIXELS, labels=labels)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("labels", "names", "y"),
    [
        (np.array([b"cat", b"dog"] * 3), ("cat", "dog"), [0, 1]),
        (np.array(["Größe", "x"] * 3).astype("U5"), ("Größe", "x"), [0, 1]),
        (np.char.encode(np.array(["Größe", "x"] * 3), "utf-8"), ("Größe", "x"), [0, 1]),
        (np.array([0.0, 1.0] * 3), ("0", "1"), [0, 1]),
        (np.array([True, False] * 3), ("False", "True"), [1, 0]),
        (np.array([7, 3] * 3, ">i8"), ("3", "7"), [1, 0]),
    ],
    ids=["bytes", "text", "bytes in UTF-8", "whole floats", "truth", "big-endian"],
)
def test_text_labels_of_an_archive_are_the_class_names(
    archive: Any, labels: Any, names: tuple[str, ...], y: list[int]
) -> None:
    train = archive("train.npz", labels)

    data = Npz.open(NpzParams(train=train, test=train))

    assert data.train.class_names == names
    assert data.test is not None
    assert data.train.y.tolist() == data.test.y.tolist() == y * 3
    assert data.train.labels_are == "names"


@pytest.mark.parametrize("names", [["3", "8"], ["1", "0"], ["cat", "dog"]], ids=str)
@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], [False, True]], ids=["integers", "floats", "truth"])
def test_numbers_are_positions_where_a_file_names_the_classes(
    archive: Any, tmp_path: Path, names: list[str], labels: list[Any]
) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(names))
    train = archive("train.npz", np.array(labels * 3))
    test = archive("test.npz", np.array(labels[::-1] * 3))
    text = archive("text.npz", np.array(names * 3))

    for other, y in ((test, [1, 0]), (text, [0, 1])):
        data = Npz.open(NpzParams(train=train, test=other, classes=tmp_path / "classes.txt"))
        assert data.train.class_names == tuple(names)
        assert data.train.y.tolist() == [0, 1] * 3
        assert data.train.labels_are == "positions"
        assert data.test is not None and data.test.y.tolist() == y * 3


def test_integers_are_names_where_the_training_labels_were_text(archive: Any, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("8\n3\n")
    train, test = archive("train.npz", np.array(["8", "3"] * 3)), archive("test.npz", np.array([3, 8] * 3))

    data = Npz.open(NpzParams(train=train, test=test, classes=tmp_path / "classes.txt"))

    assert data.train.labels_are == "names"
    assert data.test is not None and data.test.y.tolist() == [1, 0] * 3


def test_a_part_of_the_rows_has_labels_of_the_same_coding(archive: Any, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    data = Npz.open(NpzParams(train=archive("t.npz", [0, 1] * 3), classes=tmp_path / "classes.txt")).train

    assert data.take(np.array([0, 1])).labels_are == "positions"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.0, np.nan, 1.0], "row 2: the label is missing"),
        ([0.0, 0.5, 1.0], "row 2: labels have the type float64; integers or text are required"),
        (["a", "b", ""], "row 3: the label is empty"),
        ([b"a", b"\xff", b"b"], r"the label b'\\xff' is not UTF-8 text"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), "labels have the type datetime64"),
    ],
    ids=str,
)
def test_invalid_labels_are_refused(labels: Any, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        plain_labels(np.array(labels))


def test_integers_for_classes_with_names_are_refused_with_the_fix() -> None:
    with pytest.raises(LabelError, match=r"row 1: the label 1 is an integer, but the classes .*\(cat, dog\); use"):
        encode_labels(np.array([1, 0]), ["cat", "dog"], "names")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cat\ndog\ncat\n", "contains these class names more than once: cat"),
        (b"\n \n", "is empty; it must have one class name per line"),
        (b"caf\xe9\n", "cannot be read as UTF-8 text"),
    ],
)
def test_an_invalid_classes_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "classes.txt").write_bytes(content)

    with pytest.raises(DataError, match=said):
        read_class_names(tmp_path / "classes.txt")


def test_a_file_of_classes_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())

    assert read_class_names(tmp_path / "classes.txt") == ["cat", "dog"]
