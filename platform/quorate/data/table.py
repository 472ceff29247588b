"""Tables of typed columns: numbers, categories and truth values, each of which may be missing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_numeric_dtype

from quorate.data.signature import Column, ColumnKind, TableSignature
from quorate.registry import did_you_mean

BOOLEANS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
"""Texts that a boolean column holds, in lower case."""

_KINDS: dict[str, ColumnKind] = {
    "boolean": "boolean",
    "decimal": "numeric",
    "floating": "numeric",
    "integer": "numeric",
    "mixed-integer-float": "numeric",
    "string": "categorical",
}
"""What pandas' `infer_dtype` calls the values, and the column that they make."""
_DATES = {"date", "datetime", "datetime64", "period", "time", "timedelta", "timedelta64"}
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T]\d.*)?|\d{1,2}[./-]\d{1,2}[./-]\d{4}( \d.*)?")
_LARGEST = float(np.finfo(np.float32).max)
"""What members compute with."""
LARGEST_NUMBER = 1e30
"""The largest absolute value of a number in a table.

An assumption: it leaves room for the squares and sums of columns in float64, and it is below the numbers that files
use for "no value": 9.97e36 (netCDF), 1.7e38 and 3.4e38 (rasters), infinity.
"""
_SHOWN = 20
"""Names that a message lists."""


def number_fits(value: float) -> bool:
    """Whether a table may hold this number: at most `LARGEST_NUMBER` in absolute value; NaN does not fit."""
    return abs(value) <= LARGEST_NUMBER


class ColumnError(ValueError):
    """A column is missing or holds what its kind does not allow.

    `column` names it; `row` is the position of the first wrong value, where there is one.
    """

    def __init__(self, column: str, problem: str, row: int | None = None) -> None:
        super().__init__(problem if row is None else f"row {row + 1}: {problem}")
        self.column, self.problem, self.row = column, problem, row


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of typed columns.

    `frame` has the columns of `signature` in order: numeric and boolean ones as float64 with NaN for
    what is missing, categorical ones as pandas categories of text.
    """

    frame: pd.DataFrame
    signature: TableSignature

    @classmethod
    def of(cls, frame: pd.DataFrame, signature: TableSignature) -> Table:
        """The columns of `signature` taken from `frame`, converted; raises `ColumnError`."""
        _check_names(frame)
        typed = {column.name: _typed(_column(frame, column.name), column) for column in signature.columns}
        return cls(pd.DataFrame(typed, index=pd.RangeIndex(len(frame))), signature)

    def __len__(self) -> int:
        return len(self.frame)

    def subset(self, rows: NDArray[np.int64]) -> Table:
        """These rows, copied."""
        return Table(self.frame.take(rows).reset_index(drop=True), self.signature)

    def digest(self) -> str:
        """SHA-256 of names, kinds and values, however they are laid out in memory."""
        content = hashlib.sha256(json.dumps([len(self), self.signature.to_json()]).encode())
        for column in self.signature.columns:
            values = self.frame[column.name]
            if column.kind == "categorical":
                used = values.cat.remove_unused_categories().cat
                content.update(json.dumps(used.categories.tolist()).encode())
                content.update(used.codes.to_numpy("<i4").tobytes())
            else:
                numbers = values.to_numpy("<f8") + 0.0  # -0.0 is 0.0
                content.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())  # one NaN of the many
        return content.hexdigest()


def infer_signature(frame: pd.DataFrame, given: Mapping[str, ColumnKind]) -> TableSignature:
    """The kind of each column of `frame`: as `given`, else by its values.

    Numbers are numeric, truth values boolean, text categorical. Raises `ColumnError` for others
    (dates, lists), and for columns without any value.
    """
    _check_names(frame)
    return TableSignature(tuple(Column(str(name), given.get(str(name)) or _kind(frame[name])) for name in frame))


def _check_names(frame: pd.DataFrame) -> None:
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        name = str(twice[0])
        raise ColumnError(name, f"the column {name!r} stands {(frame.columns == twice[0]).sum()} times")


def _kind(values: pd.Series[Any]) -> ColumnKind:
    name = str(values.name)
    if values.isna().all():
        raise ColumnError(name, f"the column {name!r} has no values")
    distinct = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    found = infer_dtype(distinct, skipna=True)
    if found in _DATES or (found == "string" and _are_dates(values)):
        raise ColumnError(name, f"the column {name!r} holds dates or durations, which are no features")
    if found not in _KINDS:
        kinds = sorted({type(value).__name__ for value in distinct if not _is_missing(value)})
        raise ColumnError(
            name, f"the column {name!r} holds {' and '.join(kinds)}; a column is numbers, truth values or text"
        )
    if found == "string" and _are_truths(values):
        return "boolean"
    return "categorical" if distinct is not values else _KINDS[found]


def _are_truths(values: pd.Series[Any]) -> bool:
    texts = set()
    for value in pd.unique(values.dropna()):
        texts.add(str(value).lower())
        if len(texts) > 2:
            return False
    return texts in ({"true", "false"}, {"yes", "no"})


def _are_dates(values: pd.Series[Any]) -> bool:
    return all(_DATE.fullmatch(str(value)) for value in pd.unique(values.dropna()))


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in frame.columns:
        names = [str(present) for present in frame.columns]
        listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise ColumnError(name, f"the column {name!r} is missing{did_you_mean(name, names)} (there are {listed})")
    found: pd.Series[Any] = frame[name]
    return found


def _typed(values: pd.Series[Any], column: Column) -> NDArray[np.float64] | pd.Categorical:
    if column.kind == "categorical":
        return _categories(values)
    numbers = _numbers(values, texts=BOOLEANS if column.kind == "boolean" else {})
    allowed = np.abs(numbers) <= _LARGEST
    if column.kind == "boolean":
        allowed &= (numbers == 0) | (numbers == 1)
    wrong = values.notna().to_numpy() & ~allowed
    if wrong.any():
        row = int(wrong.argmax())
        needed = "a finite number (float32)" if column.kind == "numeric" else "true or false"
        raise ColumnError(
            column.name, f"the {column.kind} column {column.name!r} holds {_shown(values.iloc[row])}, not {needed}", row
        )
    return numbers


def _numbers(values: pd.Series[Any], texts: Mapping[str, float]) -> NDArray[np.float64]:
    """NaN where there is none; each distinct text is read once."""
    if is_numeric_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan)
    codes, distinct = pd.factorize(values)
    known = pd.Series([texts.get(str(value).lower(), value) for value in distinct], dtype=object)
    numbers = pd.to_numeric(known, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.append(numbers, np.nan)[codes]  # a missing value has the code -1


def _categories(values: pd.Series[Any]) -> pd.Categorical:
    codes, distinct = pd.factorize(values)
    texts = [_text(value) for value in distinct]
    categories = sorted(set(texts))
    place = {text: i for i, text in enumerate(categories)}
    moved = np.array([*(place[text] for text in texts), -1])
    return pd.Categorical.from_codes(moved[codes], categories=pd.Index(categories, dtype=object))


def _text(value: object) -> str:
    """A category as text; 3.0 and 3 are the same one, for integers become floats where some are missing."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _shown(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else str(value)[:40]
