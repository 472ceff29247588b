"""Convert JSON records to rows of a table; report the exact place of the first wrong value."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.data.signature import Column, ColumnKind, TableSignature
from quorate.data.table import BOOLEANS, LARGEST_NUMBER, number_fits
from quorate.registry import did_you_mean
from quorate.serving.errors import SHOWN_CHARACTERS, RequestError
from quorate.serving.pixels import kind

NEEDED: dict[ColumnKind, str] = {
    "numeric": f"a number of at most {LARGEST_NUMBER:g} in absolute value, or null if it is missing",
    "boolean": "true or false, or null if it is missing",
    "categorical": "text, or null if it is missing",
}
EXAMPLES: dict[ColumnKind, Any] = {"numeric": 0, "boolean": False, "categorical": "text"}
_SHOWN = 5
"""Maximum number of columns that a message names."""
_COMPARED = 200
"""Maximum number of keys of a record that are compared with a missing column's name; each takes about 20 µs."""


def read_records(value: Any, *, signature: TableSignature, max_rows: int, field: str = "inputs") -> NDArray[np.object_]:
    """Return the values (n, columns) of a record or a list of records, with None for missing values; raises
    `RequestError`.

    Every column must be present. Other keys (see `other_keys`) are ignored, like additional columns in a file.
    """
    if isinstance(value, dict):
        return np.array([_row(value, signature, field)], dtype=object)
    if not isinstance(value, list):
        raise RequestError(422, f"found {kind(value)}", field=field, expected=form(signature))
    if not value:
        raise RequestError(422, "no rows", field=field, expected=form(signature))
    if len(value) > max_rows:
        raise RequestError(413, f"{len(value)} rows in one request", field=field, expected=f"at most {max_rows} rows")
    rows = np.empty((len(value), signature.size), dtype=object)
    for i, record in enumerate(value):
        place = f"{field}[{i}]"
        if not isinstance(record, dict):
            raise RequestError(422, f"found {kind(record)}", field=place, expected=form(signature))
        rows[i] = _row(record, signature, place)
    return rows


def other_keys(value: Any, *, signature: TableSignature) -> tuple[str, ...]:
    """Return the distinct keys of the records that are not columns."""
    names = set(signature.names())
    records = [value] if isinstance(value, dict) else value
    return tuple(dict.fromkeys(key for record in records for key in record if key not in names))


def as_frame(rows: NDArray[np.object_], signature: TableSignature) -> pd.DataFrame:
    """Return the rows of `read_records` as a data frame."""
    return pd.DataFrame({name: pd.Series(rows[:, i], dtype=object) for i, name in enumerate(signature.names())})


def example(signature: TableSignature) -> dict[str, Any]:
    """Return a valid record with placeholder values."""
    return {column.name: EXAMPLES[column.kind] for column in signature.columns}


def form(signature: TableSignature) -> str:
    """Describe the expected record in words."""
    listed = ", ".join(f"{column.name[:SHOWN_CHARACTERS]!r} ({column.kind})" for column in signature.columns[:_SHOWN])
    more = f" and {signature.size - _SHOWN} more, see /v1/metadata" if signature.size > _SHOWN else ""
    return f"an array of objects with the keys {listed}{more}"


def _row(record: dict[str, Any], signature: TableSignature, place: str) -> list[Any]:
    row = []
    for column in signature.columns:
        field = f"{place}.{column.name}"
        if column.name not in record:
            keys = list(islice((key for key in record if len(key) <= SHOWN_CHARACTERS), _COMPARED))
            near = did_you_mean(column.name, keys)
            raise RequestError(422, f"the key is missing{near}", field=field, expected=NEEDED[column.kind])
        value = record[column.name]
        if value is not None and not _fits(value, column):
            raise RequestError(422, f"found {kind(value)}", field=field, expected=NEEDED[column.kind])
        row.append(value)
    return row


def _fits(value: Any, column: Column) -> bool:
    if isinstance(value, str):
        return column.kind == "categorical" or (column.kind == "boolean" and value.lower() in BOOLEANS)
    if isinstance(value, bool):
        return column.kind != "numeric"
    if not isinstance(value, int | float) or not number_fits(value):
        return False
    return column.kind != "boolean" or value in (0, 1)
