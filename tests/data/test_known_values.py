"""Values that are unlike those of the training rows are noticed, whatever the column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quorate.data.known_values import KnownValues
from quorate.data.signature import Column, TableSignature
from quorate.data.table import Table

SIGNATURE = TableSignature((Column("age", "numeric"), Column("job", "categorical"), Column("club", "boolean")))


def table(*rows: tuple[object, object, object]) -> Table:
    frame = pd.DataFrame(rows, columns=["age", "job", "club"]).astype(object)
    return Table.of(frame, SIGNATURE)


TRAINED = table((20.0, "nurse", True), (30.0, "smith", False), (None, None, None))


def test_new_categories_and_outlying_numbers_are_reported_per_row_and_missing_values_are_not() -> None:
    known = KnownValues.of(TRAINED)

    # the range is 20 to 30, 10 wide: beyond 10 and 40 a number is far
    rows = ((10.0, "nurse", True), (9.9, "clerk", False), (40.0, "smith", None), (40.1, None, None), (None, "x", True))
    found = known.unfamiliar(table(*rows))

    assert {name: rows.tolist() for name, rows in found.items()} == {
        "age": [False, True, False, True, False],
        "job": [False, True, False, False, True],
    }


def test_rows_like_the_training_rows_are_not_reported() -> None:
    assert KnownValues.of(TRAINED).unfamiliar(TRAINED) == {}


def test_known_values_survive_a_round_trip_through_the_file() -> None:
    known = KnownValues.from_bytes(KnownValues.of(TRAINED).to_bytes(), SIGNATURE)

    assert known.categories == {"job": frozenset({"nurse", "smith"})}
    assert known.ranges == {"age": (20.0, 30.0)}
    assert known.what("job") == "a category that no training row has"
    assert "the training rows, 20 to 30" in known.what("age")


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema version is 2"):
        KnownValues.from_bytes(b'{"schema": 2, "columns": {}}', SIGNATURE)


def test_a_column_without_numbers_has_no_range() -> None:
    empty = table((np.nan, "a", True))

    assert KnownValues.of(empty).ranges == {}


def test_categories_of_earlier_versions_are_read_in_the_current_spelling() -> None:
    content = b'{"schema": 1, "columns": {"job": {"categories": ["1.0", "TRUE", "nurse"]}}}'
    new = table((1.0, "1", True), (1.0, "True", True), (1.0, "1.0", True), (1.0, "2", True))

    assert KnownValues.from_bytes(content, SIGNATURE).unfamiliar(new)["job"].tolist() == [False, False, False, True]


def test_names_that_look_like_numbers_are_kept_as_they_are_written() -> None:
    signature = TableSignature((Column("job", "categorical", as_written=True),))
    trained, new = (Table.of(pd.DataFrame({"job": texts}), signature) for texts in (["1.0", "v2"], ["1", "1.0"]))
    known = KnownValues.from_bytes(KnownValues.of(trained).to_bytes(), signature)

    assert known.unfamiliar(new)["job"].tolist() == [True, False]
