"""A table has typed columns whatever the frame's types, refuses invalid values, and is identified by its content."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quorate.data.signature import Column, TableSignature
from quorate.data.table import ColumnError, Table, infer_signature, number_fits


def column(values, kind: str, **kwargs) -> pd.Series:
    """The typed column `x` of these values."""
    frame = pd.DataFrame({"x": pd.Series(values, **kwargs)})
    return Table.of(frame, TableSignature((Column("x", kind),))).frame["x"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "numeric"),
        ([1.5, None], "numeric"),
        (pd.array([1, None], dtype="Int64"), "numeric"),
        ([Decimal("1.5"), None], "numeric"),
        ([True, False], "boolean"),
        (np.array([True, None], dtype=object), "boolean"),
        (["yes", "No"], "boolean"),
        (["TRUE", "false", None], "boolean"),
        (["yes", "no", "maybe"], "categorical"),
        (["a", None], "categorical"),
        (["1", "2"], "categorical"),
        (pd.Categorical(["a", "b"]), "categorical"),
        (pd.Categorical([1, 2]), "categorical"),
        (pd.Categorical(["true", "false"]), "boolean"),
        (["2024-01-02", "word"], "categorical"),
    ],
    ids=str,
)
def test_the_kind_of_a_column_is_that_of_its_values(values, kind):
    assert infer_signature(pd.DataFrame({"x": values}), {}).columns == (Column("x", kind),)


def test_an_explicit_kind_of_column_takes_precedence_over_its_values():
    frame = pd.DataFrame({"zip": [1011, 2022], "day": pd.to_datetime(["2024-01-02", "2024-01-03"])})

    signature = infer_signature(frame, {"zip": "categorical", "day": "categorical"})

    assert [c.kind for c in signature.columns] == ["categorical", "categorical"]
    assert list(Table.of(frame, signature).frame["zip"]) == ["1011", "2022"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (pd.to_datetime(["2024-01-02"]), "the column 'x' holds dates or durations, which are not features"),
        ([datetime.date(2024, 1, 2), None], "holds dates"),
        (["2024-01-02", "2024-01-03 12:00:00", None], "holds dates"),
        (["31/12/2024", "1.2.2024"], "holds dates"),
        (pd.Categorical(["2024-01-02T00:00:00Z"]), "holds dates"),
        ([[1], [2, 3]], "the column 'x' holds list; it must hold numbers, truth values or text"),
        (np.array([1, "a", None], dtype=object), "holds int and str"),
    ],
    ids=str,
)
def test_columns_that_are_not_numbers_booleans_or_text_are_refused(values, problem):
    with pytest.raises(ColumnError) as caught:
        infer_signature(pd.DataFrame({"x": values}), {})

    assert problem in str(caught.value)
    assert (caught.value.column, caught.value.row) == ("x", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, -1], [3, -1]),
        ([0.5, None], [0.5, np.nan]),
        (["3", " 4.5 ", None], [3, 4.5, np.nan]),
        ([True, False], [1, 0]),
        (pd.array([7, None], dtype="Int64"), [7, np.nan]),
        (pd.Categorical(["3", None, "1e2"]), [3, np.nan, 100]),
        ([Decimal("1.25")], [1.25]),
        (np.array([1, "2"], dtype=object), [1, 2]),
    ],
    ids=str,
)
def test_numeric_columns_are_floats_with_nan_for_what_is_missing(values, expected):
    typed = column(values, "numeric")

    assert typed.dtype == np.float64
    np.testing.assert_array_equal(typed, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], [1, 0]),
        (np.array([True, None], dtype=object), [1, np.nan]),
        ([1, 0, 1.0], [1, 0, 1]),
        (["Yes", "no", None], [1, 0, np.nan]),
        (["1", "0.0", "TRUE"], [1, 0, 1]),
    ],
    ids=str,
)
def test_boolean_columns_are_one_zero_or_nan(values, expected):
    np.testing.assert_array_equal(column(values, "boolean"), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", None], ["b", "a", None]),
        ([3, 1], ["3", "1"]),
        ([3.0, None, 0.5], ["3", None, "0.5"]),
        ([True, False], ["True", "False"]),
        (pd.Categorical(["b", "b"], categories=["a", "b", "c"]), ["b", "b"]),
    ],
    ids=str,
)
def test_categorical_columns_are_sorted_categories_of_text(values, expected):
    typed = column(values, "categorical")

    assert [None if pd.isna(value) else value for value in typed] == expected
    assert list(typed.cat.categories) == sorted({value for value in expected if value})
    assert all(type(value) is str for value in typed.cat.categories)


@pytest.mark.parametrize(
    ("values", "kind", "problem", "row"),
    [
        ([1, np.inf], "numeric", "the numeric column 'x' holds inf, not a finite number", 1),
        (["3", None, "three"], "numeric", "holds 'three', not a finite number", 2),
        (["3", "nan"], "numeric", "holds 'nan'", 1),
        (["yes", "perhaps", "never"], "boolean", "the boolean column 'x' holds 'perhaps', not true or false", 1),
        ([0, 1, 2], "boolean", "holds 2, not true or false", 2),
        (pd.to_datetime(["2024-01-02"]), "numeric", "holds 2024-01-02 00:00:00, not a finite number", 0),
    ],
    ids=str,
)
def test_values_that_their_column_does_not_allow_are_named_with_their_row(values, kind, problem, row):
    with pytest.raises(ColumnError) as caught:
        column(values, kind)

    assert problem in caught.value.problem
    assert (caught.value.column, caught.value.row) == ("x", row)
    assert str(caught.value).startswith(f"row {row + 1}: ")


ARROW = pd.ArrowDtype


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pd.array([1.5, None], "Float64"), "numeric", [1.5, None]),
        (pd.array([True, None, False], "boolean"), "boolean", [1, None, 0]),
        (pd.array(["a", None], "string"), "categorical", ["a", None]),
        (np.array([b"a", None], object), "categorical", ["a", None]),
        (pd.array([1, None], ARROW(pa.int64())), "numeric", [1, None]),
        (pd.array([True, None, False], ARROW(pa.bool_())), "boolean", [1, None, 0]),
        (pd.array(["a", None], ARROW(pa.string())), "categorical", ["a", None]),
        (pd.array(["a", None], ARROW(pa.dictionary(pa.int32(), pa.string()))), "categorical", ["a", None]),
        (pd.array([Decimal("1.10"), None], ARROW(pa.decimal128(5, 2))), "numeric", [1.1, None]),
        (pd.array([b"a", None], ARROW(pa.binary())), "categorical", ["a", None]),
        (pd.arrays.SparseArray([0, 1.5]), "numeric", [0, 1.5]),
        (np.array([1, 2], np.float16), "numeric", [1, 2]),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_the_types_that_python_programs_bring_are_read(values, kind, expected):
    frame = pd.DataFrame({"x": pd.Series(values)})

    signature = infer_signature(frame, {})

    assert signature.columns == (Column("x", kind),)
    found = Table.of(frame, signature).frame["x"].astype(object)
    assert found.where(found.notna(), None).tolist() == expected


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (pd.array([[1], None], ARROW(pa.list_(pa.int64()))), "the column 'x' holds ndarray"),
        (pd.array([{"a": 1}, None], ARROW(pa.struct([("a", pa.int64())]))), "the column 'x' holds dict"),
        (np.array([{"a": 1}, None], object), "the column 'x' holds dict"),
        (np.array([b"\xff", None], object), "the column 'x' holds bytes that are not UTF-8 text"),
        (np.array([1 + 1j, 2]), "the column 'x' holds complex"),
    ],
    ids=str,
)
def test_cells_that_are_not_single_values_are_refused_in_training_and_prediction(values, problem):
    frame = pd.DataFrame({"x": pd.Series(values)})

    with pytest.raises(ColumnError, match=problem):
        infer_signature(frame, {})
    with pytest.raises(ColumnError, match=r"'x' holds "):
        Table.of(frame, TableSignature((Column("x", "numeric"),)))
    if "complex" not in problem:
        with pytest.raises(ColumnError, match=problem):
            Table.of(frame, TableSignature((Column("x", "categorical"),)))


def test_a_program_can_declare_numbers_with_other_texts_as_categories():
    values = ["1.5", "1.2o", "2.5"]

    with pytest.raises(ColumnError, match=r"row 2: the column 'x' holds '1\.2o', where the other 2 values are numbers"):
        infer_signature(pd.DataFrame({"x": values}), {}, categories=True)
    assert infer_signature(pd.DataFrame({"x": pd.Categorical(values)}), {}, categories=True).columns[0].kind == (
        "categorical"
    )


def test_the_values_of_a_row_do_not_depend_on_the_other_rows():
    """pandas treats 1, 1.0 and True as the same key, so the first of them would replace the others."""
    for values in ([True, 1, "x"], [1, True, "x"]):
        assert column(np.array(values, object), "categorical").tolist() == [
            "True" if value is True else str(value) for value in values
        ]


def test_a_table_has_rows():
    with pytest.raises(ValueError, match="the table has no rows"):
        Table.of(pd.DataFrame({"x": []}), TableSignature((Column("x", "numeric"),)))


@pytest.mark.parametrize(("number", "fits"), [(1e30, True), (-1e30, True), (1.1e30, False), (10**400, False)])
def test_numbers_up_to_the_largest_float_are_accepted(number, fits):
    assert number_fits(number) is fits
    assert not number_fits(float("nan")) and not number_fits(float("-inf"))


def test_a_missing_column_is_named_together_with_the_available_ones():
    frame = pd.DataFrame({"agee": [1], "sex": ["f"]})

    with pytest.raises(ColumnError, match=r"'age' is missing; did you mean 'agee'\? \(there are agee, sex\)"):
        Table.of(frame, TableSignature((Column("age", "numeric"),)))


def test_a_duplicate_name_is_refused():
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])

    with pytest.raises(ColumnError, match="the column 'a' occurs 2 times"):
        infer_signature(twice, {})
    with pytest.raises(ColumnError, match="the column 'a' occurs 2 times"):
        Table.of(twice, TableSignature((Column("a", "numeric"),)))


SIGNATURE = TableSignature((Column("n", "numeric"), Column("c", "categorical"), Column("b", "boolean")))
FRAME = pd.DataFrame({"n": [1.0, np.nan, -0.0], "c": ["x", None, "y"], "b": [True, False, True]})


def test_a_table_takes_the_columns_of_its_signature_in_their_order():
    shuffled = FRAME.assign(more=1)[["b", "more", "c", "n"]]

    table = Table.of(shuffled, SIGNATURE)

    assert list(table.frame.columns) == ["n", "c", "b"]
    assert table.digest() == Table.of(FRAME, SIGNATURE).digest()


def test_the_digest_is_that_of_the_content_and_not_of_its_layout():
    # given
    table = Table.of(FRAME, SIGNATURE)
    other_nan = FRAME.assign(n=np.array([1.0, -np.nan, 0.0]))
    other_types = FRAME.assign(c=pd.Categorical(FRAME["c"], categories=["z", "y", "x"]), b=[1, 0, 1])
    longer = Table.of(pd.concat([FRAME, pd.DataFrame({"n": [2], "c": ["w"], "b": [True]})]), SIGNATURE)

    # when, then: other bits, types, unused categories and rows that were cut off
    assert Table.of(other_nan, SIGNATURE).digest() == table.digest()
    assert Table.of(other_types, SIGNATURE).digest() == table.digest()
    assert longer.subset(np.arange(3)).digest() == table.digest() != longer.digest()


def test_any_value_name_kind_and_order_changes_the_digest():
    digests = {Table.of(FRAME, SIGNATURE).digest()}
    for name, value in (("n", 2.0), ("n", None), ("c", "z"), ("c", None), ("b", None)):
        changed = FRAME.astype(object)
        changed.loc[0, name] = value
        digests.add(Table.of(changed, SIGNATURE).digest())
    digests.add(Table.of(FRAME.iloc[::-1], SIGNATURE).digest())
    renamed = TableSignature((Column("m", "numeric"), *SIGNATURE.columns[1:]))
    digests.add(Table.of(FRAME.rename(columns={"n": "m"}), renamed).digest())
    as_numbers = TableSignature((*SIGNATURE.columns[:2], Column("b", "numeric")))
    digests.add(Table.of(FRAME, as_numbers).digest())

    assert len(digests) == 1 + 5 + 3


def test_a_subset_has_exactly_its_rows():
    part = Table.of(FRAME, SIGNATURE).subset(np.array([2, 0]))

    assert len(part) == 2
    assert part.frame["c"].tolist() == ["y", "x"]
    assert part.frame.index.tolist() == [0, 1]
    assert part.signature == SIGNATURE
