"""Read the user's files as rows for a bundle, in chunks, with a name for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from quorate.bundle import Bundle
from quorate.data.dataset import ArrayImages, Inputs, Pixels
from quorate.data.folders import is_picture, pictures_below
from quorate.data.images import OWN, ImageError, read_image
from quorate.data.signature import ImageSignature, Signature, TableSignature
from quorate.data.source import DataError
from quorate.data.sources.npz import read_images, read_signature
from quorate.data.table import Table
from quorate.data.table_files import read_table
from quorate.data.table_readers import MISSING
from quorate.errors import UserError

Chunk = tuple[list[str], Inputs]
"""The names of some rows, and the rows."""

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")

_NAMED = 20
"""Maximum number of unreadable files in a message."""
_IMAGES_AT_ONCE = 1024
"""Number of images in a chunk, to limit the memory. An assumption, not a measurement."""
_ROWS_AT_ONCE = 8192
"""Number of rows of a table in a chunk, to limit the memory. An assumption, not a measurement."""


@dataclass(frozen=True)
class Unreadable:
    """A picture that cannot be decoded; its row would have been at `position`."""

    position: int
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, eq=False)
class InputRows:
    """Rows in chunks, notes on what was left out, and the unreadable pictures. The list of these is complete after the
    last chunk."""

    chunks: Iterator[Chunk]
    notes: tuple[str, ...] = ()
    unreadable: list[Unreadable] = field(default_factory=list)

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks


def read_inputs(inputs: Sequence[Path], bundle: Bundle) -> InputRows:
    """Return the rows of all inputs; raises `UserError` with the files that cannot be read as rows.

    For a bundle of images, the inputs are pictures, folders of pictures and `.npz` archives; the pictures are read
    first. For a bundle of tables, they are CSV and Parquet files.
    """
    for path in inputs:
        if not path.exists():
            raise UserError(f"there is no {path}")
    signature = bundle.signature
    if isinstance(signature, ImageSignature):
        return _images(inputs, bundle)
    for path in inputs:
        check_table(path, signature)
    return InputRows(_tables(inputs, bundle, signature))


def check_table(path: Path, signature: TableSignature) -> None:
    """Raise `UserError` if `path` is not a table."""
    if not path.name.lower().endswith(TABLES):
        raise UserError(f"{path}: this ensemble takes {signature}; expected a .csv or .parquet file with these columns")


def read_pictures(
    paths: Sequence[Path], bundle: Bundle, unreadable: list[Unreadable], *, more: bool = False
) -> Iterator[Chunk]:
    """Read the pictures in these files; those that cannot be decoded are left out and added to `unreadable`.

    Raises `UserError` if none can be decoded, unless `more` rows of other files follow.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _IMAGES_AT_ONCE):
            part = paths[start : start + _IMAGES_AT_ONCE]
            found = list(pool.map(lambda path: _picture(path, bundle), part))
            names: list[str] = []
            pixels: list[Pixels] = []
            for i, picture in enumerate(found):
                if isinstance(picture, str):
                    unreadable.append(Unreadable(start + i, str(part[i]), picture))
                else:
                    names.append(str(part[i]))
                    pixels.append(picture)
            if names:
                yield names, ArrayImages(np.stack(pixels))
    if paths and len(unreadable) == len(paths) and not more:
        raise UserError(unreadable_files(unreadable, len(paths)))


def unreadable_files(unreadable: Sequence[Unreadable], total: int) -> str:
    """Return a message that lists unreadable pictures with the reasons."""
    listed = "\n  ".join(map(str, unreadable[:_NAMED]))
    more = f"\n  and {len(unreadable) - _NAMED:,} more" if len(unreadable) > _NAMED else ""
    return f"{len(unreadable):,} of {total:,} pictures cannot be read:\n  {listed}{more}"


def read_archive(path: Path, bundle: Bundle) -> Iterator[Chunk]:
    """Read the images of an `.npz` archive; raises `UserError`."""
    try:
        archive = ArrayImages(read_images(path, array_name(bundle, "images")))
    except DataError as error:
        raise UserError(str(error)) from None
    _check_archive(path, archive.signature, bundle)
    for start in range(0, len(archive), _IMAGES_AT_ONCE):
        rows = np.arange(start, min(start + _IMAGES_AT_ONCE, len(archive)))
        yield row_names(path, rows), ArrayImages(archive.take(rows))


def split_table(path: Path, table: Table, rows: np.ndarray | None = None) -> Iterator[Chunk]:
    """Split a table into chunks; `rows` are the positions of its rows in the file, by default all in order."""
    places = np.arange(len(table)) if rows is None else rows
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(table)))
        yield row_names(path, places[part]), table.subset(part)


def row_names(path: Path, rows: np.ndarray) -> list[str]:
    """Return the names of rows: `FILE[0]`, `FILE[1]` and so on."""
    return [f"{path}[{row}]" for row in rows]


def missing_marks(bundle: Bundle) -> Sequence[str]:
    """Return the texts that mean a missing value, as in the training data."""
    marks = bundle.manifest.data.missing
    return MISSING if marks is None else marks


def may_skip(bundle: Bundle) -> bool:
    """Return whether the bundle's job skipped unreadable pictures (`on_corrupt: skip`)."""
    return bundle.manifest.data.on_corrupt == "skip"


def array_name(bundle: Bundle, role: Literal["images", "labels"]) -> str:
    """Return the name of the images or labels array of an archive: that of the training data, or the default."""
    data = bundle.manifest.data
    return (data.images if role == "images" else data.labels) or role


def separator_of(path: Path, bundle: Bundle) -> str | None:
    """Return the separator of the training data for a `.csv` file; None for the default of the file's extension."""
    return bundle.manifest.data.separator if ".csv" in path.name.lower() else None


def _images(inputs: Sequence[Path], bundle: Bundle) -> InputRows:
    pictures: list[Path] = []
    archives: list[Path] = []
    wrong: list[Path] = []
    notes: list[str] = []
    for path in inputs:
        if path.is_dir():
            found = pictures_below(path)
            pictures += found.pictures
            notes += found.notes
        elif path.suffix.lower() == ".npz":
            _check_archive(path, read_signature(path, array_name(bundle, "images")), bundle)
            archives.append(path)
        else:
            (pictures if is_picture(path) else wrong).append(path)
    if wrong:
        raise UserError(
            f"{', '.join(map(str, wrong))}: this ensemble takes {bundle.signature}; "
            f"expected a picture ({OWN.names}), a folder of them, or an .npz archive"
        )
    unreadable: list[Unreadable] = []
    return InputRows(_each(pictures, archives, bundle, unreadable), tuple(notes), unreadable)


def _each(
    pictures: Sequence[Path], archives: Sequence[Path], bundle: Bundle, unreadable: list[Unreadable]
) -> Iterator[Chunk]:
    yield from read_pictures(pictures, bundle, unreadable, more=bool(archives))
    for path in archives:
        yield from read_archive(path, bundle)


def _check_archive(path: Path, found: Signature, bundle: Bundle) -> None:
    if found != bundle.signature:
        raise UserError(f"{path} contains {found}, but the ensemble takes {bundle.signature}")


def _tables(inputs: Sequence[Path], bundle: Bundle, signature: TableSignature) -> Iterator[Chunk]:
    missing = missing_marks(bundle)
    for path in inputs:
        table = read_table(path, signature, missing=missing, separator=separator_of(path, bundle))
        yield from split_table(path, table)


def _picture(path: Path, bundle: Bundle) -> Pixels | str:
    """Return the pixels of a file, or the reason why it cannot be decoded."""
    signature = bundle.signature
    assert isinstance(signature, ImageSignature), "only bundles for images read pictures"
    try:
        return read_image(path, shape=signature.shape, resize=bundle.manifest.input.resize)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
