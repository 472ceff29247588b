"""Tables of typed columns: numbers, categories and truth values, each of which may be missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.data.signature import Column, ColumnKind, TableSignature

BOOLEANS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
"""Texts that a boolean column holds, in lower case."""


class ColumnError(ValueError):
    """A column is missing or holds what its kind does not allow; `column` names it."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


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
        typed = {column.name: _typed(_column(frame, column.name), column) for column in signature.columns}
        return cls(pd.DataFrame(typed, index=pd.RangeIndex(len(frame))), signature)

    def __len__(self) -> int:
        return len(self.frame)

    def subset(self, rows: NDArray[np.int64]) -> Table:
        """These rows, copied."""
        return Table(self.frame.take(rows).reset_index(drop=True), self.signature)

    def digest(self) -> str:
        """SHA-256 of names, kinds and values, however they are laid out in memory."""
        content = hashlib.sha256(b"table")
        for column in self.signature.columns:
            content.update(f"{column.name}\0{column.kind}\0".encode())
            values = self.frame[column.name]
            if column.kind == "categorical":
                used = values.cat.remove_unused_categories().cat
                content.update("\0".join(used.categories).encode() + b"\0")
                content.update(used.codes.to_numpy("<i4").tobytes())
            else:
                content.update((values.to_numpy("<f8") + 0.0).tobytes())  # -0.0 is 0.0
        return content.hexdigest()


def infer_signature(frame: pd.DataFrame, given: Mapping[str, ColumnKind]) -> TableSignature:
    """The kind of each column of `frame`: as `given`, else by its values.

    Numbers are numeric, truth values boolean, text categorical. Raises `ColumnError` for others
    (dates, lists), and for columns without any value.
    """
    return TableSignature(tuple(Column(str(name), given.get(str(name)) or _kind(frame[name])) for name in frame))


def _kind(values: pd.Series) -> ColumnKind:
    present = values.dropna()
    if present.empty:
        raise ColumnError(str(values.name), f"the column {values.name!r} has no values")
    if pd.api.types.is_bool_dtype(values.dtype) or all(isinstance(value, bool) for value in present):
        return "boolean"
    if pd.api.types.is_numeric_dtype(values.dtype):
        return "numeric"
    if isinstance(values.dtype, pd.CategoricalDtype) or all(isinstance(value, str) for value in present):
        texts = set(present.astype(str).str.lower().unique())
        return "boolean" if len(texts) == 2 and texts in ({"true", "false"}, {"yes", "no"}) else "categorical"
    raise ColumnError(
        str(values.name),
        f"the column {values.name!r} holds {type(present.iloc[0]).__name__}, which is neither a number nor text",
    )


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise ColumnError(name, f"the column {name!r} is missing; there are {', '.join(map(str, frame.columns))}")
    times = list(frame.columns).count(name)
    if times > 1:
        raise ColumnError(name, f"the column {name!r} stands {times} times")
    return frame[name]


def _typed(values: pd.Series, column: Column) -> pd.Series:
    if column.kind == "categorical":
        texts = values.astype(object).where(values.notna(), None).map(_text, na_action="ignore")
        present = sorted(set(texts.dropna()))
        categories = pd.Index(np.array(present, dtype=object), dtype=object)
        return pd.Series(pd.Categorical(texts, categories=categories), name=column.name)
    if column.kind == "boolean" and not pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.map(lambda value: BOOLEANS.get(_text(value).lower(), value), na_action="ignore")
    else:
        numbers = values
    converted = pd.to_numeric(numbers, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    allowed = np.isfinite(converted) & ((converted == 0) | (converted == 1) | (column.kind == "numeric"))
    wrong = np.flatnonzero(values.notna().to_numpy() & ~allowed)
    if wrong.size:
        shown = str(values.iloc[wrong[0]])[:40]
        needed = "a finite number" if column.kind == "numeric" else "true or false"
        raise ColumnError(
            column.name,
            f"the column {column.name!r} is {column.kind}, but row {wrong[0] + 1} holds {shown!r}: {needed} is needed",
        )
    return pd.Series(converted, name=column.name)


def _text(value: object) -> str:
    """A category as text; 3.0 and 3 are the same one, for integers become floats where some are missing."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
