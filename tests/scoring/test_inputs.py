"""`quorate predict` reads rows with names, or refuses a file and names the accepted input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.jobs import Here
from tests.tables import customers as some_customers

from quorate.bundle import Bundle
from quorate.errors import UserError
from quorate.scoring.inputs import read_inputs
from quorate.scoring.score import ask, scores_of, with_unreadable


@pytest.fixture(scope="module")
def tables(customers: Here) -> Bundle:
    return Bundle.load(customers.newest_run() / "bundle")


@pytest.fixture(scope="module")
def images(tiny_bundle: Path) -> Bundle:
    return Bundle.load(tiny_bundle)


def written(folder: Path, frame: pd.DataFrame, name: str = "rows.csv", **options: object) -> Path:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False, **options)
    return path


def test_a_file_is_scored_as_the_frame_that_it_holds(tables: Bundle, customers: Here, tmp_path: Path) -> None:
    frame = some_customers(60, seed=1)
    paths = [customers.folder / "new.csv", written(tmp_path, frame, "new.parquet")]

    found = scores_of(ask(tables, read_inputs(paths, tables)), tables)

    expected = tables.predict(frame).proba
    np.testing.assert_allclose(found[["p(no)", "p(yes)"]], np.concatenate([expected, expected]), atol=1e-7)
    assert found["input"].iloc[[0, 59, 60]].tolist() == [f"{paths[0]}[0]", f"{paths[0]}[59]", f"{paths[1]}[0]"]
    assert found["class"].tolist() == np.array(["no", "yes"])[np.r_[expected, expected].argmax(axis=1)].tolist()


def test_columns_are_found_by_name_and_others_ignored(tables: Bundle, tmp_path: Path) -> None:
    frame = some_customers(20, seed=2)
    path = written(tmp_path, frame[["club", "visits", "job", "age"]].assign(more=1))

    found = scores_of(ask(tables, read_inputs([path], tables)), tables)

    np.testing.assert_allclose(found["p(yes)"], tables.predict(frame).proba[:, 1], atol=1e-7)


@pytest.mark.parametrize("mark", ["", "?", "NA", "N/A", "NaN", "nan", "null", "None"])
def test_every_missing_value_marker_of_the_training_works_here(tables: Bundle, tmp_path: Path, mark: str) -> None:
    frame = some_customers(20, seed=2)

    found = scores_of(ask(tables, read_inputs([written(tmp_path, frame, na_rep=mark)], tables)), tables)

    np.testing.assert_allclose(found["p(yes)"], tables.predict(frame).proba[:, 1], atol=1e-7)


def test_the_marks_and_the_separator_are_those_of_the_training_data(tables: Bundle, tmp_path: Path) -> None:
    frame = some_customers(20, seed=2)
    path = written(tmp_path, frame, na_rep="unknown", sep=";")
    data = tables.manifest.data.model_copy(update={"missing": ("unknown",), "separator": ";"})
    other = Bundle(tables.manifest.model_copy(update={"data": data}), tables._members)

    found = scores_of(ask(other, read_inputs([path], other)), other)

    np.testing.assert_allclose(found["p(yes)"], tables.predict(frame).proba[:, 1], atol=1e-7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": "Age"}, r"rows.csv: the column 'age' is missing; did you mean 'Age'\? \(there are id, Age, visits,"),
        ({"visits": "many"}, r"rows.csv, line 4: the numeric column 'visits' holds 'many', not a finite number"),
        ({"visits": "inf"}, r"rows.csv, line 4: the numeric column 'visits' holds inf, not a finite number"),
        ({"club": "perhaps"}, r"rows.csv, line 4: the boolean column 'club' holds 'perhaps', not true or false"),
    ],
)
def test_an_invalid_file_is_reported_with_line_and_column(
    tables: Bundle, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    frame = some_customers(5, seed=2).astype(object)
    ((column, value),) = change.items()
    if column == "age":
        frame = frame.rename(columns=change)
    else:
        frame.loc[2, column] = value

    with pytest.raises(UserError, match=said):
        list(read_inputs([written(tmp_path, frame)], tables))


def test_each_kind_of_ensemble_refuses_the_files_of_the_other(tables: Bundle, images: Bundle, tmp_path: Path) -> None:
    path = written(tmp_path, some_customers(5, seed=2))
    picture, archive = tmp_path / "a.png", tmp_path / "a.npz"
    Image.new("L", (8, 8)).save(picture)
    np.savez(archive, images=np.zeros((1, 8, 8), np.uint8))

    for other in (picture, archive, tmp_path):
        with pytest.raises(UserError, match=r"takes tables of 4 columns .*expected a .csv or .parquet file"):
            read_inputs([other], tables)
    with pytest.raises(UserError, match=r"takes images of 8x8x1; expected a picture \(JPEG, PNG.*\), a folder"):
        read_inputs([path], images)


def test_a_picture_that_cannot_be_read_is_named(images: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")

    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'bad.png'}: not a JPEG, PNG, WebP")):
        list(read_inputs([tmp_path], images))


def test_a_picture_that_cannot_be_read_leaves_the_rows_of_an_archive(images: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8))

    rows = read_inputs([tmp_path / "bad.png", tmp_path / "a.npz"], images)

    assert [len(names) for names, _ in rows] == [3]
    assert [(row.position, row.name) for row in rows.unreadable] == [(0, str(tmp_path / "bad.png"))]


def test_images_of_another_size_are_refused(images: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 9, 8), np.uint8))

    with pytest.raises(UserError, match=r"a.npz contains images of 9x8x1, but the ensemble takes images of 8x8x1"):
        list(read_inputs([tmp_path / "a.npz"], images))


def test_a_file_without_rows_is_refused(tables: Bundle, tmp_path: Path) -> None:
    path = written(tmp_path, some_customers(5, seed=2).iloc[:0])

    with pytest.raises(UserError, match=r"rows\.csv has no rows"):
        scores_of(ask(tables, read_inputs([path], tables)), tables)


def test_an_archive_is_scored_where_no_picture_can_be_read(images: Bundle, tmp_path: Path) -> None:
    bad, archive = tmp_path / "bad.png", tmp_path / "a.npz"
    bad.write_bytes(b"no picture")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.savez(archive, images=pixels)

    rows = read_inputs([archive, bad], images)
    scores = scores_of(ask(images, rows), images)

    np.testing.assert_allclose(scores.filter(like="p("), images.predict(pixels).proba, atol=1e-7)
    assert [(row.position, row.name) for row in rows.unreadable] == [(0, str(bad))]
    whole = with_unreadable(scores, rows.unreadable)
    assert whole["input"].tolist() == [str(bad), *(f"{archive}[{row}]" for row in range(3))]
    assert whole["class"].isna().tolist() == [True, False, False, False]
