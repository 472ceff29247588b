"""Open files with typed columns: the parameters of `csv` and `parquet`, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype, is_numeric_dtype
from pydantic import BeforeValidator, Field

from quorate.data.dataset import Dataset
from quorate.data.file_settings import FileSettings
from quorate.data.labels import class_positions
from quorate.data.number_texts import detect_numbers
from quorate.data.plain_text import are_names, clean_text, distinct_texts, names_differ
from quorate.data.remote import local_file, local_folder
from quorate.data.signature import ColumnKind, TableSignature
from quorate.data.source import DataError, OpenedData, RoleParams, TestSplit, hold_out, origin_of, read_roles
from quorate.data.table import ColumnError, Table, infer_signature
from quorate.data.table_readers import MISSING, UNNAMED, Format, FrameError, format_of
from quorate.errors import UserError
from quorate.registry import did_you_mean
from quorate.spec import DataPath, TestOrigin


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


_FEW_DATES = 10
"""Minimum number of distinct values for numbers such as 20240131 to count as dates. An assumption, not a
measurement."""

Text = Annotated[str, BeforeValidator(_as_text)]
"""Text that may look like a number in the job file."""


class TableParams(RoleParams):
    """The parameters of data kinds with typed columns."""

    train: DataPath
    """The file with the training rows."""
    test: DataPath | TestSplit | None = None
    """Another file, or `{fraction: 0.2}` of the training rows."""
    label: Text
    """The column that holds the classes: integers, text or truth values."""
    columns: dict[Text, ColumnKind | Literal["ignore"]] = Field({})
    """Kinds of columns whose kind would be inferred wrongly from their values; `ignore` leaves a column out."""
    missing: tuple[Text, ...] = MISSING
    """Texts that mean a missing value."""

    def test_origin(self) -> TestOrigin:
        return origin_of(self.test)

    def file_settings(self) -> FileSettings:
        return replace(super().file_settings(), label=self.label, missing=self.missing)


def open_table(params: TableParams, format: Format) -> OpenedData:
    """Return the rows of `train` and `test`; raises `DataError` with the key that caused the error."""
    train = _File(_local(params.train, format, "train"), format, "train", params, text=_texts(params))
    signature, notes = _features(train, params)
    x = _typed(train, signature, key="columns")
    y, class_names = _labels(train, params.label)
    data = Dataset(x, y, class_names, **read_roles(params, train.column, train.place))
    if isinstance(params.test, TestSplit):
        return OpenedData(*hold_out(data, params.test), notes)
    if params.test is None:
        return OpenedData(data, None, notes)
    test = _File(
        _local(params.test, format, "test"),
        format,
        "test",
        params,
        text={params.label, *signature.names("categorical")},
    )
    x = _typed(test, signature, key="test")
    y, _ = _labels(test, params.label, class_names)
    return OpenedData(data, Dataset(x, y, class_names), notes)


def read_table(
    path: Path, signature: TableSignature, *, missing: Sequence[str] = MISSING, separator: str | None = None
) -> Table:
    """Read the columns of `signature` from a CSV or Parquet file; raises `UserError`."""
    format = format_of(path, missing=missing, separator=separator)
    return typed_rows(path, format, format.read(path, text=signature.names("categorical")), signature)


def typed_rows(path: Path, format: Format, frame: pd.DataFrame, signature: TableSignature) -> Table:
    """Convert the columns of `signature` in a frame read from `path`; raises `UserError` with the line."""
    if not len(frame):
        raise UserError(f"{path} has no rows")
    try:
        return Table.of(frame, signature)
    except ColumnError as error:
        where = path if error.row is None else f"{path}, {format.place(path, error.row)}"
        remedy = f"; correct the value; {error.remedy}" if error.remedy else ""
        raise UserError(f"{where}: {error.problem}{remedy}") from None


def _local(given: Path | str, format: Format, key: str) -> Path:
    """The file or folder of a table; a URL of a Parquet table that ends with a slash names a folder."""
    folder = format.folders and str(given).endswith("/")
    return local_folder(given, key) if folder else local_file(given, key)


class _File:
    """A file that was read, and the places of its rows."""

    def __init__(self, path: Path, format: Format, key: str, params: TableParams, *, text: set[str]) -> None:
        self.path, self.key, self._format = path, key, format
        try:
            self.frame = format.read(path, text=text)
        except FrameError as error:
            raise DataError(str(error), key) from None
        if not len(self.frame):
            raise DataError(f"{path} has no rows", key)
        self.names = [str(name) for name in self.frame.columns]

    def column(self, name: str, key: str) -> pd.Series[Any]:
        """Return the column that `key` of the job file names; raises `DataError`."""
        if name not in self.names:
            near = did_you_mean(name, self.names)
            raise DataError(f"{self.path} has no column {name!r}{near} (there are {', '.join(self.names)})", key)
        values: pd.Series[Any] = self.frame[name]
        return values

    def place(self, row: int | None) -> str:
        return str(self.path) if row is None else f"{self.path}, {self._format.place(self.path, row)}"


def _texts(params: TableParams) -> set[str]:
    """Return the columns whose values are read as text even if they look like numbers."""
    names = {params.label, params.groups} - {None}
    return {*map(str, names), *(name for name, kind in params.columns.items() if kind == "categorical")}


def _features(file: _File, params: TableParams) -> tuple[TableSignature, tuple[str, ...]]:
    """Return the feature columns, and notes on those that are left out."""
    roles: dict[str, str] = {}
    for role in ("label", "weight", "groups", "time"):
        name = getattr(params, role)
        if name is None:
            continue
        file.column(name, role)
        if name in roles:
            raise DataError(f"the column {name!r} is already the {roles[name]}", role)
        if params.columns.get(name, "ignore") != "ignore":
            raise DataError(f"the column {name!r} is the {role} and not a feature; leave it out of columns", "columns")
        roles[name] = role
    for name in params.columns:
        file.column(name, "columns")
    given = {name: kind for name, kind in params.columns.items() if kind != "ignore"}
    left = [name for name in file.names if name not in roles and params.columns.get(name) != "ignore"]
    left_out = {name: what for name in left if (what := reason_to_ignore(file.frame[name], given=name in given))}
    left = [name for name in left if name not in left_out]
    if not left:
        raise DataError(f"{file.path} has no feature columns besides {', '.join(map(repr, roles))}", file.key)
    try:
        signature = infer_signature(file.frame[left], given)
    except ColumnError as error:
        raise DataError(f"{file.place(error.row)}: {error.problem}; {_remedies(error)}", "columns") from None
    notes = [f"{file.path}: the column {name!r} {what} and is left out" for name, what in left_out.items()]
    notes += [
        f"{file.path}: the column {name!r} has a different text in every row; if it only identifies the rows, "
        f"leave it out with columns: {{{name}: ignore}}"
        for name in signature.names("categorical")
        if _names_every_row(file.frame[name])
    ]
    notes += [
        f"{file.path}: the column {name!r} {note}; if these are numbers, correct the texts or add them to `missing`"
        for name in signature.names("categorical")
        if name not in given and (note := detect_numbers(file.frame[name]).note)
    ]
    notes += [
        f"{file.path}: the column {name!r} holds dates such as {example} as numbers, and is used as a numeric feature; "
        f"leave it out with columns: {{{name}: ignore}}, or order the rows by it with time: {name}"
        for name in signature.names("numeric")
        if name not in given and (example := _compact_date(file.frame[name]))
    ]
    return signature, tuple(notes)


def _remedies(error: ColumnError) -> str:
    """Return how to fix a column that cannot be used as a feature."""
    ignore = f"columns: {{{error.column}: ignore}}"
    if "holds dates or durations" in error.problem:
        return f"leave it out with {ignore}; if it orders the rows, set time: {error.column}"
    if error.row is None:
        return f"leave it out with {ignore}"
    if "where the other" in error.problem:
        return (
            "correct the cells; or add these texts to `missing` if they mean a missing value; or set columns: "
            f"{{{error.column}: categorical}} if the numbers are names"
        )
    return f"{error.remedy}, or leave it out with {ignore}"


def reason_to_ignore(values: pd.Series[Any], *, given: bool = False) -> str:
    """Return the reason why a column is of no use as a feature, or an empty text. `given` is true if the job file sets
    its kind."""
    if values.isna().all():
        return "has no values"
    if not given and _numbers_rows(values):
        return "numbers the rows, as DataFrame.to_csv() does,"
    try:
        constant = values.nunique(dropna=False) == 1
    except TypeError:  # lists cannot be hashed; they are rejected later
        return ""
    return "has the same value in every row" if constant else ""


def _numbers_rows(values: pd.Series[Any]) -> bool:
    """Return whether the column is an index that pandas wrote: distinct integers without a name, or 0, 1, 2 and so
    on."""
    name = str(values.name)
    unnamed = name.startswith(UNNAMED)
    if not (unnamed or name.lower() == "index") or not is_integer_dtype(values.dtype):
        return False
    return bool((values.to_numpy() == np.arange(len(values))).all()) or (unnamed and values.is_unique)


def _compact_date(values: pd.Series[Any]) -> str:
    """Return an example such as 20240131 if all numbers of the column are dates in this form, otherwise an empty
    text."""
    if not is_numeric_dtype(values.dtype):
        return ""
    numbers: NDArray[np.float64] = np.unique(values.dropna().to_numpy(np.float64))
    possible = (numbers >= 19000101) & (numbers <= 21001231) & (np.floor(numbers) == numbers)
    if len(numbers) < _FEW_DATES or not possible.all():
        return ""
    dates = pd.to_datetime(pd.Series(numbers.astype(np.int64).astype(str)), format="%Y%m%d", errors="coerce")
    return str(int(numbers[0])) if dates.notna().all() else ""


def _names_every_row(values: pd.Series[Any]) -> bool:
    return len(values) > 50 and values.nunique() == len(values)


def _typed(file: _File, signature: TableSignature, *, key: str) -> Table:
    try:
        return Table.of(file.frame, signature)
    except ColumnError as error:
        remedy = f"; correct the value; {error.remedy}" if error.remedy else ""
        if key == "columns" and error.row is not None:
            remedy = f"; correct the value, add it to `missing`, or set columns: {{{error.column}: categorical}}"
        raise DataError(f"{file.place(error.row)}: {error.problem}{remedy}", key) from None


def _labels(
    file: _File, name: str, class_names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as positions in the class names, which are the sorted labels of the training rows."""
    values = file.column(name, "label" if class_names is None else file.key)
    try:
        as_written = are_names(values) if class_names is None else names_differ(class_names)
        codes, texts = distinct_texts(values, as_written=as_written)
    except ValueError as error:
        raise DataError(f"{file.path}: the label {name!r} {error}; classes must be integers or text", "label") from None
    if (codes < 0).any():
        count, first = int((codes < 0).sum()), int((codes < 0).argmax())
        more = f" (and in {count - 1:,} more)" if count > 1 else ""
        raise DataError(
            f"{file.place(first)}: the label {name!r} is missing{more}; fill it in, remove these rows, or remove "
            "the text from `missing` if it is a class",
            "label" if class_names is None else file.key,
        )
    if class_names is None:
        if any(re.fullmatch(r"-?\d*\.\d+", text) for text in texts) and _are_numbers(texts):
            raise DataError(
                f"{file.path}: the label {name!r} holds numbers with fractions, such as {texts[0]}; "
                "classes must be integers or text",
                "label",
            )
        spelled = _as_spelled(values, codes, texts)
        class_names = sorted(set(spelled), key=int if _are_integers(spelled) else None)
    y = class_positions(texts, class_names)[codes]
    if (y < 0).any():
        row = int((y < 0).argmax())
        unknown = texts[codes[row]]
        raise DataError(
            f"{file.place(row)}: the label {unknown!r} is not among the classes of the training rows"
            f"{did_you_mean(unknown, list(class_names))} (they are {', '.join(class_names[:20])})",
            file.key,
        )
    return y, tuple(class_names)


def _as_spelled(values: pd.Series[Any], codes: NDArray[np.intp], texts: Sequence[str]) -> list[str]:
    """Return truth values in the column's own spelling, if it spells each of them in only one way."""
    if not set(texts) <= {"True", "False"}:
        return list(texts)
    own = pd.Series(values.to_numpy(object)).groupby(codes).first().map(lambda value: clean_text(str(value)))
    spelled = [own[code] for code in range(len(texts))]
    return spelled if len(set(spelled)) == len(set(texts)) else list(texts)


def _are_integers(texts: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?(0|[1-9]\d*)", text) for text in texts)


def _are_numbers(texts: Sequence[str]) -> bool:
    return bool(pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").notna().all())
