"""Define tables of typed columns: numbers, categories and truth values; any value can be missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_complex_dtype, is_numeric_dtype, is_object_dtype

from quorate.data.dates import are_dates
from quorate.data.number_texts import detect_numbers
from quorate.data.plain_text import CONTAINERS, are_names, clean_text, distinct_texts, plain_text
from quorate.data.signature import Column, ColumnKind, TableSignature
from quorate.registry import did_you_mean

BOOLEANS = {
    **dict.fromkeys(("true", "yes", "y", "t", "1", "1.0"), 1.0),
    **dict.fromkeys(("false", "no", "n", "f", "0", "0.0"), 0.0),
}
"""The texts of a boolean column, in lower case."""

_KINDS: dict[str, ColumnKind] = {
    "boolean": "boolean",
    "decimal": "numeric",
    "floating": "numeric",
    "integer": "numeric",
    "mixed-integer-float": "numeric",
    "string": "categorical",
}
"""The kind of column for each result of pandas' `infer_dtype`."""
_DATES = {"date", "datetime", "datetime64", "period", "time", "timedelta", "timedelta64"}
LARGEST_NUMBER = 1e30
"""The largest absolute value of a number in a table.

An assumption, not a measurement: it leaves room for the squares and sums of columns in float64, and it is below the
numbers that files use for "no value": 9.97e36 (netCDF), 1.7e38 and 3.4e38 (rasters), infinity.
"""
_WRITE_NUMBERS = "write plain numbers such as 12345.6"
_CORRECT_CELLS = (
    "correct these cells (NaN for a missing value), or convert the column to the pandas type category if it holds names"
)
_SHOWN = 20
"""Maximum number of names in a message."""


def number_fits(value: float) -> bool:
    """Return whether a table can hold this number: its absolute value must be at most `LARGEST_NUMBER`, and it must not
    be NaN."""
    return abs(value) <= LARGEST_NUMBER


class ColumnError(ValueError):
    """A column is missing or holds a value that its kind does not allow.

    `column` is its name; `row` is the position of the first wrong value, or None; `remedy` is advice that applies to
    rows from any source, or empty.
    """

    def __init__(self, column: str, problem: str, row: int | None = None, *, remedy: str = "") -> None:
        said = f"{problem}; {remedy}" if remedy else problem
        super().__init__(said if row is None else f"row {row + 1}: {said}")
        self.column, self.problem, self.row, self.remedy = column, problem, row, remedy


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of typed columns.

    `frame` has the columns of `signature` in order. Numeric and boolean columns are float64 with NaN for missing
    values; categorical columns are pandas categories of text.
    """

    frame: pd.DataFrame
    signature: TableSignature

    @classmethod
    def of(cls, frame: pd.DataFrame, signature: TableSignature) -> Table:
        """Convert the columns of `signature` in `frame`; raises `ColumnError`, or `ValueError` without rows."""
        _check_names(frame)
        if not len(frame):
            raise ValueError("the table has no rows")
        typed = {column.name: _typed(_column(frame, column.name), column) for column in signature.columns}
        return cls(pd.DataFrame(typed, index=pd.RangeIndex(len(frame))), signature)

    def __len__(self) -> int:
        return len(self.frame)

    def subset(self, rows: NDArray[np.int64]) -> Table:
        """Return a copy of these rows."""
        return Table(self.frame.take(rows).reset_index(drop=True), self.signature)

    @classmethod
    def joined(cls, parts: Sequence[Table]) -> Table:
        """Concatenate subsets of one table."""
        return cls(pd.concat([part.frame for part in parts], ignore_index=True), parts[0].signature)

    def digest(self) -> str:
        """Return the SHA-256 of names, kinds and values; it does not depend on their layout in memory."""
        content = hashlib.sha256(json.dumps([len(self), self.signature.to_json()]).encode())
        for column in self.signature.columns:
            values = self.frame[column.name]
            if column.kind == "categorical":
                used = values.cat.remove_unused_categories().cat
                content.update(json.dumps(used.categories.tolist()).encode())
                content.update(used.codes.to_numpy("<i4").tobytes())
            else:
                numbers = values.to_numpy("<f8") + 0.0  # -0.0 is 0.0
                content.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())  # all NaN get the same bytes
        return content.hexdigest()


def infer_signature(
    frame: pd.DataFrame, given: Mapping[str, ColumnKind], *, categories: bool = False
) -> TableSignature:
    """Return the kind of each column of `frame`: the `given` kind, or that of its values.

    Numbers are numeric, truth values boolean, text categorical. A column without any value must be in `given`. Raises
    `ColumnError` for other values (dates, lists), and for text columns in which nearly all cells are numbers. With
    `categories`, a column of pandas categories is always text, because a program chose that type.
    """
    _check_names(frame)
    columns = []
    for name in frame:
        kind = given.get(str(name)) or _kind(frame[name], categories=categories)
        as_written = kind == "categorical" and are_names(_without_arrow(frame[name]))
        columns.append(Column(str(name), kind, as_written=as_written))
    return TableSignature(tuple(columns))


def _check_names(frame: pd.DataFrame) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        name = str(twice[0])
        raise ColumnError(name, f"the column {name!r} occurs {(frame.columns == twice[0]).sum()} times")


def _kind(values: pd.Series[Any], *, categories: bool) -> ColumnKind:
    values = _without_arrow(values)
    name, is_category = str(values.name), isinstance(values.dtype, pd.CategoricalDtype)
    distinct = values.cat.remove_unused_categories().cat.categories if is_category else values
    found = infer_dtype(distinct, skipna=True)
    if found == "bytes":
        values = distinct = _decoded(values, name)
        found = infer_dtype(distinct, skipna=True)
    if found in _DATES:
        raise _dates(name)
    if found not in _KINDS:
        raise ColumnError(
            name, f"the column {name!r} holds {_types(distinct)}; it must hold numbers, truth values or text"
        )
    if found != "string":
        return "categorical" if is_category else _KINDS[found]
    if _are_truths(values):
        return "boolean"
    if not (categories and is_category):
        _refuse_other_texts(values, name)
    return "categorical"


def _refuse_other_texts(values: pd.Series[Any], name: str) -> None:
    """Raise `ColumnError` if a column of text holds dates, or numbers with a few other texts."""
    if are_dates([str(value) for value in pd.unique(values.dropna())]):
        raise _dates(name)
    seen = detect_numbers(values)
    if seen.problem:
        row = int((values == seen.text).to_numpy(bool, na_value=False).argmax())
        remedy = _WRITE_NUMBERS if seen.marked else _CORRECT_CELLS
        raise ColumnError(name, f"the column {name!r} {seen.problem}", row, remedy=remedy)


def _dates(name: str) -> ColumnError:
    problem = f"the column {name!r} holds dates or durations, which are not features"
    return ColumnError(name, problem, remedy="leave it out, or convert it to numbers")


def _decoded(values: pd.Series[Any], name: str) -> pd.Series[Any]:
    try:
        return values.astype(object).map(plain_text, na_action="ignore")
    except ValueError as error:
        raise ColumnError(name, f"the column {name!r} {error}") from None


def _without_arrow(values: pd.Series[Any]) -> pd.Series[Any]:
    """Convert Arrow's texts, dates and nested values to Python objects, because pandas lacks functions for some Arrow
    types."""
    if isinstance(values.dtype, pd.ArrowDtype) and not is_numeric_dtype(values.dtype):
        return values.astype(object)
    return values


def _types(values: Any) -> str:
    """Return the names of the types of the values."""
    names = sorted({type(value).__name__ for value in values if not _is_missing(value)})
    return " and ".join(names)


def _are_truths(values: pd.Series[Any]) -> bool:
    """Return whether all values are words for true or false, such as yes and no, and both truth values occur."""
    texts = set()
    for value in pd.unique(values.dropna()):
        text = clean_text(str(value)).lower()
        if text not in BOOLEANS:
            return False
        texts.add(text)
    return {BOOLEANS[text] for text in texts} == {0.0, 1.0} and not texts <= {"0", "1", "0.0", "1.0"}


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in frame.columns:
        names = [str(present) for present in frame.columns]
        listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise ColumnError(name, f"the column {name!r} is missing{did_you_mean(name, names)} (there are {listed})")
    found: pd.Series[Any] = frame[name]
    return found


def _typed(values: pd.Series[Any], column: Column) -> NDArray[np.float64] | pd.Categorical:
    values = _without_arrow(values)
    _refuse_containers(values, column.name)
    if column.kind == "categorical":
        return _categories(values, column)
    if is_complex_dtype(values.dtype):
        raise ColumnError(column.name, f"the column {column.name!r} holds complex numbers; convert them to real ones")
    numbers = _numbers(values, texts=BOOLEANS if column.kind == "boolean" else {})
    allowed = np.abs(numbers) <= LARGEST_NUMBER
    if column.kind == "boolean":
        allowed &= (numbers == 0) | (numbers == 1)
    wrong = values.notna().to_numpy() & ~allowed
    if wrong.any():
        raise _wrong_value(values.iloc[int(wrong.argmax())], numbers[wrong][0], column, int(wrong.argmax()))
    return numbers


def _wrong_value(value: object, number: float, column: Column, row: int) -> ColumnError:
    if column.kind == "boolean":
        needed = "true or false"
    elif np.isfinite(number):
        needed = f"a number of at most {LARGEST_NUMBER:g}"
    else:
        needed = "a finite number"
    problem = f"the {column.kind} column {column.name!r} holds {_shown(value)}, not {needed}"
    remedy = 'if it means "no value", leave the cell empty (NaN in Python)'
    return ColumnError(column.name, problem, row, remedy="" if column.kind == "boolean" else remedy)


def _refuse_containers(values: pd.Series[Any], name: str) -> None:
    """Raise `ColumnError` for lists, dictionaries and other containers in cells."""
    if not is_object_dtype(values.dtype) or infer_dtype(values, skipna=True) == "string":
        return
    for row, value in enumerate(values):
        if isinstance(value, CONTAINERS):
            problem = f"the column {name!r} holds {type(value).__name__}; it must hold numbers, truth values or text"
            raise ColumnError(name, problem, row, remedy="split it into columns with one number or text each")


def _numbers(values: pd.Series[Any], texts: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the values as numbers, NaN for missing ones; each distinct text is parsed once."""
    if is_numeric_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan)
    codes, distinct = pd.factorize(values)
    known = pd.Series([_number(value, texts) for value in distinct], dtype=object)
    numbers = pd.to_numeric(known, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.append(numbers, np.nan)[codes]  # a missing value has the code -1


def _number(value: object, texts: Mapping[str, float]) -> object:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = clean_text(value) if isinstance(value, str) else value
    return texts.get(str(text).lower(), text)


def _categories(values: pd.Series[Any], column: Column) -> pd.Categorical:
    try:
        codes, texts = distinct_texts(values, as_written=column.as_written)
    except ValueError as error:
        raise ColumnError(column.name, f"the column {column.name!r} {error}") from None
    categories = sorted(set(texts))
    place = {text: i for i, text in enumerate(categories)}
    moved = np.array([*(place[text] for text in texts), -1])
    return pd.Categorical.from_codes(moved[codes], categories=pd.Index(categories, dtype=object))


def _shown(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    return repr(value[:40]) if isinstance(value, str) else str(value)[:40]
