"""Labelled rows of every kind, and the errors for unusable labels."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.jobs import Here
from tests.tables import customers as some_customers

from quorate.bundle import Bundle, BundleData
from quorate.data.source import OpenedData
from quorate.errors import UserError
from quorate.scoring.labelled_files import LabelledRows, read_labelled


@pytest.fixture(scope="module")
def tables(customers: Here) -> Bundle:
    return Bundle.load(customers.newest_run() / "bundle")


@pytest.fixture(scope="module")
def images(tiny_bundle: Path) -> Bundle:
    return Bundle.load(tiny_bundle)


def with_classes(bundle: Bundle, *names: str) -> Bundle:
    other = copy.copy(bundle)
    other.manifest = bundle.manifest.model_copy(update={"class_names": names})
    return other


def names_of(labelled: LabelledRows) -> list[str]:
    return [name for names, _ in labelled.rows for name in names]


def test_the_column_of_the_training_data_is_the_label_unless_another_is_named(tables: Bundle, tmp_path: Path) -> None:
    frame = some_customers(30, seed=3)
    path = tmp_path / "rows.parquet"
    frame.rename(columns={"bought": "target"}).assign(bought="no").to_parquet(path)

    assert read_labelled(path, tables).y.tolist() == [0] * 30
    assert read_labelled(path, tables, label="target").y.tolist() == (frame["bought"] == "yes").astype(int).tolist()


def test_rows_without_a_label_are_left_out_and_counted_and_the_others_keep_their_names(
    tables: Bundle, tmp_path: Path
) -> None:
    frame = some_customers(6, seed=3)
    frame["bought"] = ["yes", None, "no", "?", "yes", "yes"]
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)

    found = read_labelled(path, tables)

    assert (found.y.tolist(), found.unlabelled) == ([1, 0, 1, 1], 2)
    ((names, x),) = found.rows
    assert names == [f"{path}[{row}]" for row in (0, 2, 4, 5)]
    np.testing.assert_array_equal(x.frame["visits"], frame["visits"].iloc[[0, 2, 4, 5]])


def test_a_missing_group_is_named_with_its_line(tables: Bundle, tmp_path: Path) -> None:
    frame = some_customers(4, seed=3).assign(household=[1, 2, None, 1])
    frame["bought"] = [None, "yes", "no", "no"]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    grouped = copy.copy(tables)
    data = tables.manifest.data.model_copy(update={"groups": "household"})
    grouped.manifest = tables.manifest.model_copy(update={"data": data})

    with pytest.raises(UserError, match=r"rows\.csv, line 4, column 'household': the group is missing"):
        read_labelled(tmp_path / "rows.csv", grouped)


def test_labels_and_class_names_may_be_spelled_in_different_ways(tables: Bundle, tmp_path: Path) -> None:
    truths = with_classes(tables, "false", "true")
    some_customers(4, seed=3).assign(bought=["TRUE", "False", " true", "false"]).to_csv(tmp_path / "a.csv", index=False)
    numbers = with_classes(tables, "0", "1")
    some_customers(3, seed=3).assign(bought=[1.0, None, 0.0]).to_parquet(tmp_path / "b.parquet")

    assert read_labelled(tmp_path / "a.csv", truths).y.tolist() == [1, 0, 1, 0]
    assert read_labelled(tmp_path / "b.parquet", numbers).y.tolist() == [1, 0]


def test_a_table_without_rows_is_refused(tables: Bundle, tmp_path: Path) -> None:
    some_customers(3, seed=3).iloc[:0].to_csv(tmp_path / "rows.csv", index=False)

    with pytest.raises(UserError, match=r"rows\.csv has no rows"):
        read_labelled(tmp_path / "rows.csv", tables)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["yes", "Yes", "no"], r"rows.csv, line 3: the label 'Yes' is not a class; did you mean 'yes'\?"),
        (
            ["1", "0", "yes"],
            r"rows.csv, line 2: the label '1' is not a class \(nor 0\).*classes are no, yes",
        ),
        ([None, "?", ""], r"rows.csv: no row has a label in the column 'bought'"),
    ],
)
def test_labels_that_are_no_classes_are_an_error_that_names_the_row(
    tables: Bundle, tmp_path: Path, labels: list[str | None], said: str
) -> None:
    some_customers(3, seed=3).assign(bought=labels).to_csv(tmp_path / "rows.csv", index=False)

    with pytest.raises(UserError, match=said):
        read_labelled(tmp_path / "rows.csv", tables)


def test_a_missing_label_column_is_an_error_that_lists_the_columns(tables: Bundle, tmp_path: Path) -> None:
    some_customers(3, seed=3).rename(columns={"bought": "bouht"}).to_csv(tmp_path / "rows.csv", index=False)

    with pytest.raises(UserError, match=r"has no label column 'bought'; did you mean 'bouht'\?.*--label"):
        read_labelled(tmp_path / "rows.csv", tables)


def test_without_a_recorded_label_column_the_option_is_required(tables: Bundle, tmp_path: Path) -> None:
    data = BundleData(fingerprint=tables.manifest.data.fingerprint, rows=tables.manifest.data.rows)
    silent = Bundle(tables.manifest.model_copy(update={"data": data}), tables._members)
    some_customers(3, seed=3).to_csv(tmp_path / "rows.csv", index=False)

    with pytest.raises(UserError, match="name the column with --label"):
        read_labelled(tmp_path / "rows.csv", silent)


@pytest.mark.parametrize("kind", [np.int32, str])
def test_labels_of_an_archive_are_the_class_names(
    images: Bundle, digits: OpenedData, tmp_path: Path, kind: type
) -> None:
    pixels, y = digits.train.x.take(np.arange(25)), digits.train.y[:25]
    np.savez(tmp_path / "a.npz", images=pixels, labels=y.astype(kind))

    found = read_labelled(tmp_path / "a.npz", images)

    assert found.y.tolist() == y.tolist()
    assert names_of(found)[24] == f"{tmp_path / 'a.npz'}[24]"


def named_as(images: Bundle, names: list[str], labels_are: str | None) -> Bundle:
    data = images.manifest.data.model_copy(update={"labels_are": labels_are})
    manifest = images.manifest.model_copy(update={"class_names": tuple(names), "data": data})
    return Bundle(manifest, images._members)


@pytest.mark.parametrize(
    "names", [list("abcdefghij"), [str(n) for n in range(9, -1, -1)], [str(n) for n in range(10, 20)]], ids=str
)
def test_integers_of_an_archive_are_positions_if_the_training_labels_were_positions(
    images: Bundle, tmp_path: Path, names: list[str]
) -> None:
    bundle = named_as(images, names, "positions")
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), labels=[9, 0, 3], others=[1, 2, 10])
    np.savez(tmp_path / "text.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([names[4], names[0]]))

    assert read_labelled(tmp_path / "a.npz", bundle).y.tolist() == [9, 0, 3]
    assert read_labelled(tmp_path / "text.npz", bundle).y.tolist() == [4, 0], "text is a name"
    with pytest.raises(UserError, match=r"a.npz, row 3: the label 10 is not a position in the list of 10 class names"):
        read_labelled(tmp_path / "a.npz", bundle, label="others")


def test_integers_of_an_archive_are_names_if_the_training_labels_were_names(images: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), labels=[9, 0, 3])

    turned = named_as(images, [str(n) for n in range(9, -1, -1)], "names")
    assert read_labelled(tmp_path / "a.npz", turned).y.tolist() == [0, 9, 6]
    with pytest.raises(
        UserError, match=r"a.npz, row 1: the label 9 is an integer, but the classes of the training data are"
    ):
        read_labelled(tmp_path / "a.npz", named_as(images, list("abcdefghij"), "names"))


def test_a_bundle_without_a_label_coding_interprets_integers_by_its_class_names(images: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), labels=[9, 0, 3])

    assert read_labelled(tmp_path / "a.npz", named_as(images, list("abcdefghij"), None)).y.tolist() == [9, 0, 3]
    turned = named_as(images, [str(n) for n in range(9, -1, -1)], None)
    assert read_labelled(tmp_path / "a.npz", turned).y.tolist() == [0, 9, 6]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, r"has no array 'labels' \(it contains images\)"),
        ({"labels": [1, 2]}, "3 images but labels of shape"),
        ({"labels": [0.5, 1, 2]}, "labels have the type float64"),
    ],
)
def test_an_archive_without_usable_labels_is_refused(
    images: Bundle, tmp_path: Path, arrays: dict[str, list[float]], said: str
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8), **arrays)

    with pytest.raises(UserError, match=said):
        read_labelled(tmp_path / "a.npz", images)


def test_folders_are_the_labels_of_the_pictures_in_them(images: Bundle, digits: OpenedData, tmp_path: Path) -> None:
    pixels, y = digits.train.x.take(np.arange(12)), digits.train.y[:12]
    for i, label in enumerate(y):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(pixels[i, ..., 0], "L").save(tmp_path / str(label) / f"{i}.png")

    found = read_labelled(tmp_path, images)

    ((names, x),) = found.rows
    order = [int(Path(name).stem) for name in names]
    assert found.y.tolist() == y[order].tolist()
    np.testing.assert_array_equal(x.take(np.arange(12)), pixels[order])


def test_folders_and_files_of_other_kinds_are_refused(images: Bundle, tables: Bundle, tmp_path: Path) -> None:
    (tmp_path / "eleven").mkdir()
    with pytest.raises(UserError, match="has no folders with pictures; it must contain one folder per class"):
        read_labelled(tmp_path, images)
    Image.new("L", (8, 8)).save(tmp_path / "eleven" / "a.png")
    with pytest.raises(UserError, match=r"eleven/a.png: the label 'eleven' is not a class"):
        read_labelled(tmp_path, images)
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "rows.csv")
    with pytest.raises(UserError, match=r"takes images of 8x8x1; expected an .npz archive with images and labels"):
        read_labelled(tmp_path / "rows.csv", images)
    with pytest.raises(UserError, match=r"takes tables of 4 columns"):
        read_labelled(tmp_path, tables)
    with pytest.raises(UserError, match=r"there is no .*nothing.csv"):
        read_labelled(tmp_path / "nothing.csv", tables)


def test_labels_that_look_like_the_same_number_are_two_classes_if_the_ensemble_has_both(
    tables: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    some_customers(3, seed=3).assign(bought=["1.0", "1", "1.0"]).to_csv(path, index=False)

    assert read_labelled(path, with_classes(tables, "1", "1.0")).y.tolist() == [1, 0, 1]
    assert read_labelled(path, with_classes(tables, "1", "2")).y.tolist() == [0, 0, 0]
