"""Convert columns that are not features: weights, groups and times of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from quorate.data.dates import DatesError, date_seconds, seconds_since_1970
from quorate.data.plain_text import are_names, distinct_texts
from quorate.data.table import LARGEST_NUMBER


class RoleError(ValueError):
    """A weight, group or time cannot be used; `row` is the position of the first wrong one, or None."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.row = problem, row


def weights_of(values: pd.Series[Any]) -> NDArray[np.float32]:
    """Return sample weights: finite, not negative, not all zero; raises `RoleError`."""
    weights = _numbers(values, "a weight")
    _refuse(weights < 0, values, "the weight {} is negative; remove the row, or give it the weight 0")
    if not weights.any():
        raise RoleError("all weights are 0")
    return weights.astype(np.float32)


def groups_of(values: pd.Series[Any]) -> NDArray[np.int64]:
    """Return the group number of each row, in the order of first occurrence; raises `RoleError`."""
    _refuse(
        values.isna(),
        values,
        "the group is missing; if the row is unrelated to all other rows, give it a group of its own",
    )
    try:
        codes, texts = distinct_texts(values, as_written=are_names(values))
    except ValueError as error:
        raise RoleError(f"the column {error}; groups must be numbers or text") from None
    return pd.factorize(np.array(texts, object))[0][codes].astype(np.int64)


def times_of(values: pd.Series[Any]) -> NDArray[np.float64]:
    """Return numbers as they are, and dates as seconds since 1970 in UTC; raises `RoleError`.

    Dates in text are in ISO 8601, such as `2024-12-31` or `2024-12-31T23:59:00`, or in another common format that is
    unambiguous.
    """
    if is_numeric_dtype(values.dtype):
        return _numbers(values, "a time")
    _refuse(values.isna(), values, "the time is missing; fill it in or remove the row")
    if is_datetime64_any_dtype(values.dtype):
        return seconds_since_1970(pd.to_datetime(values, utc=True))
    codes, distinct = pd.factorize(values)
    try:
        return date_seconds([str(value) for value in distinct])[codes]
    except DatesError as error:
        if error.text is None:
            raise RoleError(str(error)) from None
        _refuse((values.astype(str) == error.text).to_numpy(), values, f"the time {{}} {error}")
        raise


def _numbers(values: pd.Series[Any], what: str) -> NDArray[np.float64]:
    _refuse(values.isna(), values, f"{what} is missing; fill it in or remove the row")
    if not is_numeric_dtype(values.dtype) or is_bool_dtype(values.dtype):
        parsed: pd.Series[Any] = pd.to_numeric(values.astype(object), errors="coerce")
    else:
        parsed = values
    numbers: NDArray[np.float64] = parsed.to_numpy(np.float64)
    _refuse(~np.isfinite(numbers), values, f"{what} is {{}}, which is not a finite number")
    _refuse(np.abs(numbers) > LARGEST_NUMBER, values, f"{what} is {{}}, more than {LARGEST_NUMBER:g}")
    return numbers


def _refuse(wrong: Any, values: pd.Series[Any], problem: str) -> None:
    """Raise `RoleError` for the first row where `wrong` is true; `{}` in `problem` is replaced by the value in that
    row."""
    wrong = np.asarray(wrong)
    if wrong.any():
        row = int(wrong.argmax())
        raise RoleError(problem.format(repr(str(values.iloc[row])[:40])), row)
