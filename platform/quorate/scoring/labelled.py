"""Files of rows whose classes are known, for `quorate evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle
from quorate.data.frames import format_of
from quorate.data.roles import RoleError, groups_of
from quorate.data.signature import ImageSignature, TableSignature
from quorate.data.source import DataError
from quorate.data.sources.npz import read_labels
from quorate.data.table import ColumnError, Table
from quorate.data.tables import label_text
from quorate.errors import UserError
from quorate.registry import did_you_mean
from quorate.scoring.inputs import (
    Chunk,
    array_name,
    check_table,
    missing_marks,
    pictures_below,
    read_archive,
    read_pictures,
    separator_of,
    split_table,
)


@dataclass(frozen=True)
class Labelled:
    """Rows in chunks, their labels int64 (N,) as positions in the class names, and how many rows had none.

    `groups` int64 (N,) says which rows belong together, where the table has the column that the job names.
    """

    rows: Iterable[Chunk]
    y: NDArray[np.int64]
    unlabelled: int = 0
    groups: NDArray[np.int64] | None = None


def read_labelled(path: Path, bundle: Bundle, *, label: str | None = None) -> Labelled:
    """The labelled rows at `path`; raises `UserError`.

    `label` names the column of a table, or the array of an archive; left out, it is the column that
    the ensemble was trained on. Rows of a table without a label are left out.
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
            "or a folder with a folder of pictures for each class"
        )
    return _archive(path, bundle, signature, label or array_name(bundle, "labels"))


def _table(path: Path, bundle: Bundle, signature: TableSignature, label: str | None) -> Labelled:
    label = label or bundle.manifest.get("data", {}).get("label")
    if label is None:
        raise UserError("which column holds the classes? The ensemble does not say: name it with --label")
    format = format_of(path, missing=missing_marks(bundle), separator=separator_of(path, bundle))
    frame = format.read(path, text={label, *signature.names("categorical")})
    if label not in frame:
        names = [str(name) for name in frame]
        raise UserError(
            f"{path} has no column {label!r} for the labels{did_you_mean(label, names)}; "
            f"name one with --label (there are {', '.join(names)})"
        )
    kept = np.flatnonzero(frame[label].notna())
    if not len(kept):
        raise UserError(f"{path}: no row has a label in the column {label!r}")
    try:
        table = Table.of(frame, signature)
    except ColumnError as error:
        where = path if error.row is None else f"{path}, {format.place(path, error.row)}"
        raise UserError(f"{where}: {error.problem}") from None
    labels = [label_text(value) for value in frame[label].iloc[kept]]
    y = _positions(labels, lambda i: f"{path}, {format.place(path, int(kept[i]))}", bundle)
    column = bundle.manifest.get("data", {}).get("groups")
    try:
        groups = groups_of(frame[column].iloc[kept]) if column in frame else None
    except RoleError as error:
        raise UserError(f"{path}, column {column!r}: {error}") from None
    return Labelled(split_table(path, table.subset(kept), kept), y, len(frame) - len(kept), groups)


def _folder(path: Path, bundle: Bundle) -> Labelled:
    pictures = pictures_below(path, "*/*")
    if not pictures:
        raise UserError(f"{path} has no folders with JPEG or PNG files; one folder for each class is needed")
    y = _positions([picture.parent.name for picture in pictures], lambda i: str(pictures[i]), bundle)
    return Labelled(read_pictures(pictures, bundle), y)


def _archive(path: Path, bundle: Bundle, signature: ImageSignature, label: str) -> Labelled:
    try:
        labels = read_labels(path, label)
    except DataError as error:
        raise UserError(str(error)) from None
    rows = list(read_archive(path, bundle))
    count = sum(len(names) for names, _ in rows)
    if labels.shape != (count,):
        raise UserError(f"{path}: {count} images but labels of shape {labels.shape}; one label a row is needed")
    names = bundle.class_names
    if labels.dtype.kind in "iu" and not all(_is_integer(name) for name in names):
        texts = [names[value] if 0 <= value < len(names) else str(value) for value in labels.tolist()]
    else:
        texts = [str(value) for value in labels.tolist()]
    return Labelled(rows, _positions(texts, lambda i: f"{path}, row {i + 1}", bundle))


def _positions(labels: Sequence[str], place: Callable[[int], str], bundle: Bundle) -> NDArray[np.int64]:
    """Labels as positions in the class names; raises `UserError` with the `place` of the first unknown one."""
    codes, distinct = pd.factorize(np.array(labels, dtype=object))
    known = pd.Index(bundle.class_names).get_indexer(pd.Index(distinct))
    if (unknown := np.flatnonzero(known < 0)).size:
        name, first = str(distinct[unknown[0]]), place(int((codes == unknown[0]).argmax()))
        more = f" (nor {', '.join(map(str, distinct[unknown[1:6]]))})" if len(unknown) > 1 else ""
        listed = ", ".join(bundle.class_names[:20]) + (", …" if len(bundle.class_names) > 20 else "")
        raise UserError(
            f"{first}: the label {name!r} is no class of the ensemble{more}"
            f"{did_you_mean(name, list(bundle.class_names))} (the classes are {listed}); "
            "mend the labels, or leave such rows out"
        )
    return known[codes].astype(np.int64)


def _is_integer(name: str) -> bool:
    return name.lstrip("-").isdigit()
