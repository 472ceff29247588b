"""Read files of labelled rows, for `quorate evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle
from quorate.data.folders import class_folders
from quorate.data.labels import LabelCoding, LabelError, encode_labels
from quorate.data.plain_text import distinct_texts, names_differ
from quorate.data.roles import RoleError, groups_of
from quorate.data.signature import ImageSignature, TableSignature
from quorate.data.source import DataError
from quorate.data.sources.npz import read_labels
from quorate.data.table_files import typed_rows
from quorate.data.table_readers import format_of
from quorate.errors import UserError
from quorate.registry import did_you_mean
from quorate.scoring.inputs import (
    Chunk,
    Unreadable,
    array_name,
    check_table,
    missing_marks,
    read_archive,
    read_pictures,
    separator_of,
    split_table,
)


@dataclass(frozen=True)
class LabelledRows:
    """Rows in chunks, their labels int64 (N,) as positions in the class names, and the number of unlabelled rows.

    `groups` int64 (N,) is the group of each row, if the table has the job's groups column.
    """

    rows: Iterable[Chunk]
    y: NDArray[np.int64]
    unlabelled: int = 0
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    """Sentences on what was left out."""
    unreadable: list[Unreadable] = field(default_factory=list)
    """Unreadable pictures; complete after all rows are read."""

    def readable(self) -> LabelledRows:
        """Return a copy without the labels of unreadable pictures; pictures have no groups."""
        return replace(self, y=np.delete(self.y, [row.position for row in self.unreadable]))

    def named(self, shown: Callable[[str], str]) -> LabelledRows:
        """Return a copy whose notes and unreadable pictures name the files as `shown` returns them."""
        unreadable = [replace(row, name=shown(row.name)) for row in self.unreadable]
        return replace(self, notes=tuple(map(shown, self.notes)), unreadable=unreadable)


def read_labelled(path: Path, bundle: Bundle, *, label: str | None = None) -> LabelledRows:
    """Read the labelled rows at `path`; raises `UserError`.

    `label` is the column of a table, or the array of an archive, that contains the labels; by default, the one of the
    training data. Rows of a table without a label are left out.
    """
    if not path.exists():
        raise UserError(f"there is no {path}")
    signature = bundle.signature
    if isinstance(signature, TableSignature):
        check_table(path, signature)
        return _table(path, bundle, signature, label)
    if path.is_dir():
        return _folder(path, bundle)
    if path.suffix != ".npz":
        raise UserError(
            f"{path}: this ensemble takes {signature}; expected an .npz archive with images and labels, "
            "or a folder with one folder of pictures per class"
        )
    return _archive(path, bundle, signature, label or array_name(bundle, "labels"))


def _table(path: Path, bundle: Bundle, signature: TableSignature, label: str | None) -> LabelledRows:
    label = label or bundle.manifest.data.label
    if label is None:
        raise UserError("the ensemble does not record which column contains the classes; name the column with --label")
    format = format_of(path, missing=missing_marks(bundle), separator=separator_of(path, bundle))
    frame = format.read(path, text={label, *signature.names("categorical")})
    if label not in frame:
        names = [str(name) for name in frame]
        raise UserError(
            f"{path} has no label column {label!r}{did_you_mean(label, names)}; "
            f"name the label column with --label (the columns are {', '.join(names)})"
        )
    if not len(frame):
        raise UserError(f"{path} has no rows")
    kept = np.flatnonzero(frame[label].notna())
    if not len(kept):
        raise UserError(f"{path}: no row has a label in the column {label!r}")
    table = typed_rows(path, format, frame, signature)
    texts = _texts(path, frame[label].iloc[kept], label, bundle)
    y = _positions(texts, lambda i: f"{path}, {format.place(path, int(kept[i]))}", bundle)
    column = bundle.manifest.data.groups
    try:
        groups = groups_of(frame[column].iloc[kept]) if column in frame else None
    except RoleError as error:
        where = path if error.row is None else f"{path}, {format.place(path, int(kept[error.row]))}"
        raise UserError(f"{where}, column {column!r}: {error}") from None
    return LabelledRows(split_table(path, table.subset(kept), kept), y, len(frame) - len(kept), groups)


def _texts(path: Path, values: pd.Series[Any], label: str, bundle: Bundle) -> list[str]:
    try:
        codes, texts = distinct_texts(values, as_written=names_differ(bundle.class_names))
    except ValueError as error:
        raise UserError(f"{path}: the label {label!r} {error}; classes must be integers or text") from None
    return [texts[code] for code in codes]


def _folder(path: Path, bundle: Bundle) -> LabelledRows:
    found = class_folders(path)
    pictures = found.pictures
    y = _positions([picture.parent.name for picture in pictures], lambda i: str(pictures[i]), bundle)
    unreadable: list[Unreadable] = []
    return LabelledRows(read_pictures(pictures, bundle, unreadable), y, notes=found.notes, unreadable=unreadable)


def _archive(path: Path, bundle: Bundle, signature: ImageSignature, label: str) -> LabelledRows:
    try:
        labels = read_labels(path, label)
    except DataError as error:
        raise UserError(str(error)) from None
    rows = list(read_archive(path, bundle))
    count = sum(len(names) for names, _ in rows)
    if labels.shape != (count,):
        raise UserError(f"{path}: {count} images but labels of shape {labels.shape}; one label per row is required")
    return LabelledRows(rows, _encoded(labels, lambda i: f"{path}, row {i + 1}", bundle, _coding(bundle)))


def _positions(labels: Sequence[str], place: Callable[[int], str], bundle: Bundle) -> NDArray[np.int64]:
    """Return the positions of labels in the class names; raises `UserError` with the `place` of the first unknown
    label."""
    return _encoded(np.array(labels, dtype=str), place, bundle, "names")


def _encoded(
    labels: NDArray[Any], place: Callable[[int], str], bundle: Bundle, coding: LabelCoding
) -> NDArray[np.int64]:
    try:
        return encode_labels(labels, bundle.class_names, coding)[0]
    except LabelError as error:
        assert error.row is not None, "a LabelError names its row"
        raise UserError(f"{place(error.row)}: {error.problem}; correct the label, or remove the row") from None


def _coding(bundle: Bundle) -> LabelCoding:
    """Return how integer labels are read, as in the training data.

    Bundles of earlier versions do not record it; for these, integers are names if all class names are integers.
    """
    if (coding := bundle.manifest.data.labels_are) is not None:
        return coding
    integers = all(name.removeprefix("-").isdecimal() for name in bundle.class_names)
    return "names" if integers else "positions"
