"""Inspect the columns of a table: kinds, missing values, columns that are not features, and the label."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_integer_dtype, is_numeric_dtype

from quorate.autoconfig.dependence import ID_NAME, split_hints
from quorate.autoconfig.fingerprint import ColumnFacts, Fingerprint, Hashes, TableFacts, repeats_of
from quorate.autoconfig.source import DataLocation
from quorate.data.plain_text import are_names, distinct_texts
from quorate.data.table import ColumnError, infer_signature
from quorate.data.table_files import reason_to_ignore
from quorate.data.table_readers import UNNAMED, Format, ParquetFormat, format_of
from quorate.errors import UserError
from quorate.registry import did_you_mean

LABELS = ("label", "labels", "target", "class", "y", "outcome", "income", "species", "diagnosis", "survived")
"""Usual names of label columns, most reliable first."""

MANY = 100
"""Integer labels with more distinct values than this, and with fewer than `_FEW_ROWS` rows per value on average, are
rejected as a quantity that is not a class. An assumption, not a measurement."""

_FEW_ROWS = 20
"""Mean number of rows per value, see `MANY`. An assumption, not a measurement."""
_ID_ROWS = 50
"""Minimum number of rows for a column of distinct values to count as an identifier whatever its name is. An assumption,
not a measurement."""
_NEARLY_ALL = 0.95
"""Minimum fraction of distinct values for a text column to count as names or free text. An assumption, not a
measurement."""


def inspect_table(source: DataLocation, label: str | None = None) -> Fingerprint:
    """Rows, classes, columns and repeated rows; raises `UserError` if no column can be the label."""
    separator = _separator(source.train) if source.kind == "csv" else ","
    format = ParquetFormat() if source.kind == "parquet" else format_of(source.train, separator=separator)
    frame = _frame(format, source.train)
    test = _frame(format, source.test) if source.test else None
    name, guess = _label(frame, test, label, source)
    notes = source.notes
    if test is not None and name not in test:
        notes += (
            f"{source.test} has no label column {name!r}, so it cannot be the test set and is left out; a trained job "
            "can still predict its rows",
        )
        source, test = replace(source, test=None), None
    if is_numeric_dtype(frame[name].dtype) and source.kind == "csv":
        texts = format.read(source.train, text={name})[name]  # 01 and 1 are different classes, as in training
    else:
        texts = frame[name]
    try:
        codes, spelled = distinct_texts(texts, as_written=are_names(texts))
    except ValueError as error:
        raise UserError(f"{source.train}: the label {name!r} {error}; classes are integers or text") from None
    y, names = pd.factorize(np.array([*spelled, None], object)[codes])  # different spellings of one value are one class
    classes = _classes(frame[name], pd.Series(y).map(dict(enumerate(names))), name, guess, source.train)
    columns = tuple(_column(frame[column]) for column in frame if column != name)
    features = [column.name for column in columns if not column.ignore]
    if not features:
        ignored = "; ".join(f"{column.name}: {column.ignore}" for column in columns) or "it is the only column"
        raise UserError(f"{source.train} has no usable feature besides the label {name!r} ({ignored})")
    if test is not None and (lacking := [column for column in features if column not in test]):
        raise UserError(
            f"{source.test} lacks the columns {', '.join(lacking[:5])} of {source.train}; choose another "
            "test table with --test"
        )
    repeats = repeats_of(
        _hashes(frame[features]), y.astype(np.int64), None if test is None else _hashes(test[features])
    )
    hints = split_hints(frame, y, columns, copies=repeats.train)
    return Fingerprint(
        source,
        classes,
        None if test is None else len(test),
        sum(_bytes(path) for path in (source.train, source.test) if path),
        repeats,
        TableFacts(name, guess, columns, separator, hints),
        notes=notes + tuple(hint.note for hint in hints),
    )


def _frame(format: Format, path: Path) -> pd.DataFrame:
    frame = format.read(path)
    if not len(frame):
        raise UserError(f"{path} has no rows")
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame


def _bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in (path.rglob("*") if path.is_dir() else [path]) if part.is_file())


def _separator(path: Path) -> str:
    """The most frequent separator in the first line; a comma if there is none."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            first = str(file.readline(1 << 20))
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return max(",;\t|", key=lambda mark: (first.count(mark), mark == ","))


def _label(frame: pd.DataFrame, test: pd.DataFrame | None, given: str | None, source: DataLocation) -> tuple[str, str]:
    """The label column, and the reason for the guess; the reason is empty if the user named it."""
    names = list(frame.columns)
    if given is not None:
        if given not in names:
            near = did_you_mean(given, names)
            raise UserError(f"{source.train} has no column {given!r}{near} (there are {', '.join(names)})")
        return given, ""
    lower = {name.lower(): name for name in reversed(names)}
    usual = [lower[name] for name in LABELS if name in lower]
    only = [] if test is None else [name for name in names if name not in test]
    if len(only) == 1 and (only[0] in usual or not usual):
        return only[0], f"the only column that {source.test.name if source.test else 'the test table'} lacks"
    if usual:
        return usual[0], "a common name for the label"
    named = [name for name in names if not name.startswith(UNNAMED) and frame[name].notna().any()]
    return (named or names)[-1], "the last column"


def _classes(values: pd.Series[Any], texts: pd.Series[Any], name: str, guess: str, path: Path) -> dict[str, int]:
    """Number of rows per class, by label text; raises `UserError` if the values are not classes."""
    other = "; if another column holds the classes, give it with --label" if guess else ""
    missing = int(values.isna().sum())
    if missing == len(values):
        raise UserError(f"{path}: the label column {name!r} has no values{other}")
    if missing:
        raise UserError(
            f"{path}: {missing:,} of {len(values):,} rows have no label in the column {name!r} (texts such as NA and "
            f"null count as missing); add the labels or remove these rows{other}"
        )
    counts = texts.value_counts()
    fractions = is_float_dtype(values.dtype) and bool((values % 1 != 0).any())
    numbers = fractions or is_integer_dtype(values.dtype) or is_float_dtype(values.dtype)
    if fractions or (numbers and len(counts) > MANY and len(values) / len(counts) < _FEW_ROWS):
        examples = ", ".join(map(str, values.unique()[:3]))
        raise UserError(
            f"{path}: the label {name!r} holds {len(counts):,} different numbers in {len(values):,} rows "
            f"({examples}, …): this is a quantity, but Quorate is for classification; convert it to classes, e.g. "
            f"low, middle and high{other}"
        )
    if len(counts) > MANY and len(counts) > len(values) / 2:
        raise UserError(
            f"{path}: the label {name!r} has {len(counts):,} different texts in {len(values):,} rows: these "
            f"texts identify rows and are not classes{other}"
        )
    order = sorted(counts.index, key=int) if all(re.fullmatch(r"-?(0|[1-9]\d*)", text) for text in counts.index) else ()
    return {str(text): int(counts[text]) for text in order or sorted(counts.index)}


def _column(values: pd.Series[Any]) -> ColumnFacts:
    name, missing = str(values.name), float(values.isna().mean())
    if missing == 1:
        return ColumnFacts(name, None, missing, 0, "no values")
    try:
        distinct = int(values.nunique())
        kind = infer_signature(values.to_frame(), {}).columns[0].kind
    except (ColumnError, TypeError) as error:
        problem = error.problem if isinstance(error, ColumnError) else "holds lists or other objects"
        return ColumnFacts(name, None, missing, 0, _no_feature(name, problem), f"{name!r} holds dates" in problem)
    if distinct == 1 and missing == 0:
        return ColumnFacts(name, kind, missing, distinct, "the same value in every row")
    if "numbers the rows" in reason_to_ignore(values):
        return ColumnFacts(name, kind, missing, distinct, "row numbers, as DataFrame.to_csv() writes them")
    return ColumnFacts(name, kind, missing, distinct, _names_rows(values, name, distinct))


def _no_feature(name: str, problem: str) -> str:
    held = problem.partition(f"{name!r} holds ")[2]
    if held.startswith("dates"):
        return f"dates cannot be features; use `time: {name}` to order the rows by them"
    if "where the other" in problem:
        return f"{held or problem}; correct these cells, or add their texts to `missing`"
    return held or problem


def _names_rows(values: pd.Series[Any], name: str, distinct: int) -> str:
    """The reason why a column counts as a row identifier; empty if it does not."""
    rows = int(values.notna().sum())
    if rows < _ID_ROWS:
        return "an identifier, judging by its name" if distinct == rows == len(values) and ID_NAME.search(name) else ""
    if is_integer_dtype(values.dtype) and distinct == rows:
        return "a different number in every row, like an identifier"
    text = not pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if text and distinct >= _NEARLY_ALL * rows:
        return "a different text in nearly every row, like names or free text"
    return ""


def _hashes(frame: pd.DataFrame) -> Hashes:
    """Hashes of the rows. Rows with equal values have equal hashes, even if their frames have different pandas
    categories."""
    plain = frame.astype({name: object for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)})
    return np.asarray(pd.util.hash_pandas_object(plain, index=False), np.uint64)
