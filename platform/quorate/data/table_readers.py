"""Read CSV and Parquet files as pandas data frames, check column names and mark missing values."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_integer_dtype, is_numeric_dtype

from quorate.data.plain_text import clean_text
from quorate.errors import UserError

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "None")
"""Texts that mean a missing value."""

UNNAMED = "Unnamed: "
"""Prefix of the name that pandas and this module give to a column without a name; its position (from 0) follows."""

_SEPARATORS = ",;\t|"


class FrameError(UserError):
    """A file cannot be read as rows of named columns; the message gives the file and the line."""


class Format(Protocol):
    """A file format for rows of named columns."""

    folders: ClassVar[bool]
    """Whether a table can also be a folder of files."""

    def read(self, path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
        """Read all rows; values of the columns `text` are not converted to numbers. Raises `FrameError`."""

    def place(self, path: Path, row: int) -> str:
        """Return where the row (from 0) is in the file, for messages."""


@dataclass(frozen=True)
class CsvFormat:
    """Comma-separated values in UTF-8 with a header, plain or gzipped (`.gz`)."""

    folders: ClassVar[bool] = False
    separator: str = ","
    missing: Sequence[str] = MISSING

    def read(self, path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
        with _readable(path):
            names = self._header(path)
        try:
            with _readable(path):
                frame = pd.read_csv(
                    path,
                    sep=self.separator,
                    names=names,
                    header=0,
                    dtype={name: str for name in names if name in text},
                    na_values=list(self.missing),
                    keep_default_na=False,
                    skipinitialspace=True,
                    low_memory=False,
                    compression="gzip" if path.suffix == ".gz" else None,
                )
        except pd.errors.ParserError as error:
            self._check_widths(path, len(names))
            raise FrameError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        if len(frame) and frame.iloc[:, -1].isna().any():
            self._check_widths(path, len(names))  # pandas would fill lines that are too short
        self._check_unnamed(path, frame)
        return pd.DataFrame({name: _cleaned(frame[name], self.missing, text=name in text) for name in names})

    def place(self, path: Path, row: int) -> str:
        with _readable(path):
            start, _ = next(islice(self._lines(path), row + 1, None))
        return f"line {start}"

    def _header(self, path: Path) -> list[str]:
        first = [values for _, values in islice(self._lines(path), 2)]
        if not first:
            raise FrameError(f"{path} is empty; its first line must contain the column names")
        names = [clean_text(name) for name in first[0]]
        own = [name or self._unnamed(names, place) for place, name in enumerate(names)]
        _check_names(own, path)
        if len(first) > 1 and len(first[1]) > len(names):
            self._check_widths(path, len(names))  # pandas would treat the first column as an index
        if len(names) == 1 and (other := [mark for mark in _SEPARATORS if mark in names[0]]):
            raise FrameError(
                f"{path} has only the column {names[0][:60]!r}: its values are separated by {other[0]!r}, not by "
                f"{self.separator!r}; set separator: {other[0]!r} in the job's data, or save the file with "
                f"{self.separator!r}"
            )
        return own

    @staticmethod
    def _unnamed(names: Sequence[str], place: int) -> str:
        name = f"{UNNAMED}{place}"
        return f"{name}.1" if name in names else name

    def _check_unnamed(self, path: Path, frame: pd.DataFrame) -> None:
        """Check that each column without a name is empty, or is the first column and contains an index of integers."""
        header = next(values for _, values in self._lines(path))
        for place, name in enumerate(header):
            values = frame.iloc[:, place]
            if clean_text(name) or values.isna().all() or (place == 0 and is_integer_dtype(values.dtype)):
                continue
            row = int(values.notna().to_numpy().argmax())
            raise FrameError(
                f"{path}: column {place + 1} has no name, but contains {str(values.iloc[row])[:40]!r} in "
                f"{self.place(path, row)}; name it in the first line, or remove it"
            )

    def _check_widths(self, path: Path, width: int) -> None:
        with _readable(path):
            for line, values in self._lines(path):
                if len(values) != width:
                    raise FrameError(
                        f"{path}, line {line}: {len(values)} values, but the header names {width} columns; "
                        "correct the line, or quote the values that contain the separator"
                    )

    def _lines(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the values of each row; blank lines are left out."""
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=self.separator, skipinitialspace=True)
            start = 1
            for values in lines:
                if values and values != [""]:
                    yield start, values
                start = lines.line_num + 1


@dataclass(frozen=True)
class ParquetFormat:
    """Apache Parquet: a file, or a folder of files with equal columns."""

    folders: ClassVar[bool] = True
    missing: Sequence[str] = MISSING

    def read(self, path: Path, *, text: Collection[str] = ()) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if path.is_file():
                _check_names(pq.read_schema(path).names, path)
            frame = pq.read_table(path).to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError) as error:
            raise FrameError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from None
        frame = frame[[name for name in frame if not str(name).startswith("__index_level_")]]  # written by pandas
        return pd.DataFrame({name: _cleaned(frame[name], self.missing, text=True) for name in frame})

    def place(self, path: Path, row: int) -> str:
        return f"row {row + 1}"


def format_of(path: Path, *, missing: Sequence[str] = MISSING, separator: str | None = None) -> Format:
    """Return the format for the extension of the file; raises `FrameError` for others."""
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    if ending.lower() in (".csv", ".csv.gz", ".tsv", ".tsv.gz"):
        return CsvFormat(separator or ("\t" if "tsv" in ending.lower() else ","), missing)
    if ending.lower() in (".parquet", ".pq"):
        return ParquetFormat(missing)
    raise FrameError(f"{path}: the name of a table must end in .csv, .csv.gz, .tsv, .tsv.gz, .parquet or .pq")


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if "" in names:
        raise FrameError(f"{path}: column {names.index('') + 1} has no name; name it in the first line")
    if twice:
        raise FrameError(f"{path} has two columns named {', '.join(map(repr, twice))}; give each its own name")


def _cleaned(values: pd.Series[Any], missing: Sequence[str], *, text: bool) -> pd.Series[Any]:
    """Convert stripped text to categories or to numbers, and mark missing values.

    A column that is text only because of marks of missing values becomes numbers, unless `text` is set.
    """
    if is_numeric_dtype(values.dtype) and not is_bool_dtype(values.dtype):
        marks = pd.to_numeric(pd.Series(list(missing), dtype=object), errors="coerce").dropna()
        marked = values.isin(marks.tolist()) if len(marks) else None
        return values if marked is None or not marked.any() else values.astype(np.float64).mask(marked)
    held = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    if infer_dtype(held, skipna=True) != "string":
        return values
    codes, distinct = pd.factorize(values)
    stripped = pd.Series([clean_text(value) for value in distinct], dtype=object)
    places, texts = pd.factorize(stripped.mask(stripped.isin(list(missing))))
    codes = np.append(places, -1)[codes]
    if len(texts) and not text:
        numbers = pd.to_numeric(pd.Series(texts), errors="coerce")
        if numbers.notna().all():
            return pd.Series(np.append(numbers.to_numpy(np.float64), np.nan)[codes], index=values.index)
    return pd.Series(pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype=object)), index=values.index)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise FrameError(f"{path}{_undecodable_line(path)} is not UTF-8; save the file in UTF-8") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise FrameError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _undecodable_line(path: Path) -> str:
    with (gzip.open if path.suffix == ".gz" else io.open)(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", line {number}"
    return ""
