"""The files that a user names as rows that a bundle takes, in chunks, each row with a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from quorate.bundle import Bundle
from quorate.data.dataset import ArrayImages, Inputs, Pixels
from quorate.data.frames import MISSING
from quorate.data.images import ImageError, read_image
from quorate.data.signature import ImageSignature, TableSignature
from quorate.data.source import DataError
from quorate.data.sources.image_folder import SUFFIXES
from quorate.data.sources.npz import read_images
from quorate.data.table import Table
from quorate.data.tables import read_table
from quorate.errors import UserError

Chunk = tuple[list[str], Inputs]
"""Names of some rows, and the rows."""

TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")

_IMAGES_AT_ONCE = 1024
_ROWS_AT_ONCE = 8192


def read_inputs(inputs: Sequence[Path], bundle: Bundle) -> Iterator[Chunk]:
    """The rows of all inputs, in chunks; raises `UserError` with the file.

    A bundle of images takes pictures, folders of them and `.npz` archives, and reads the pictures
    first; one of tables takes CSV and Parquet files.
    """
    for path in inputs:
        if not path.exists():
            raise UserError(f"there is no {path}")
    signature = bundle.signature
    if isinstance(signature, ImageSignature):
        return _images(inputs, bundle)
    for path in inputs:
        check_table(path, signature)
    return _tables(inputs, bundle, signature)


def check_table(path: Path, signature: TableSignature) -> None:
    """Raise `UserError` where the ensemble takes tables and `path` is something else."""
    if not path.name.lower().endswith(TABLES):
        raise UserError(f"{path}: this ensemble takes {signature}; expected a .csv or .parquet file with these columns")


def pictures_below(folder: Path, pattern: str = "**/*") -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.suffix.lower() in SUFFIXES)


def read_pictures(paths: Sequence[Path], bundle: Bundle) -> Iterator[Chunk]:
    """The pictures in these files; raises `UserError` with the first that cannot be decoded."""
    for start in range(0, len(paths), _IMAGES_AT_ONCE):
        part = paths[start : start + _IMAGES_AT_ONCE]
        yield [str(path) for path in part], ArrayImages(np.stack([_picture(path, bundle) for path in part]))


def read_archive(path: Path, bundle: Bundle) -> Iterator[Chunk]:
    """The images of an `.npz` archive; raises `UserError`."""
    try:
        archive = ArrayImages(read_images(path, array_name(bundle, "images")))
    except DataError as error:
        raise UserError(str(error)) from None
    if archive.signature != bundle.signature:
        raise UserError(f"{path} holds {archive.signature}, the ensemble takes {bundle.signature}")
    for start in range(0, len(archive), _IMAGES_AT_ONCE):
        rows = np.arange(start, min(start + _IMAGES_AT_ONCE, len(archive)))
        yield row_names(path, rows), ArrayImages(archive.take(rows))


def split_table(path: Path, table: Table, rows: np.ndarray | None = None) -> Iterator[Chunk]:
    """A table in chunks; `rows` are the positions of its rows in the file, all in turn when left out."""
    places = np.arange(len(table)) if rows is None else rows
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = np.arange(start, min(start + _ROWS_AT_ONCE, len(table)))
        yield row_names(path, places[part]), table.subset(part)


def row_names(path: Path, rows: np.ndarray) -> list[str]:
    """`FILE[0]`, `FILE[1]` and so on."""
    return [f"{path}[{row}]" for row in rows]


def missing_marks(bundle: Bundle) -> Sequence[str]:
    """The texts that mean a missing value, as in the training data."""
    marks: Sequence[str] | None = bundle.manifest.get("data", {}).get("missing")
    return MISSING if marks is None else marks


def array_name(bundle: Bundle, role: Literal["images", "labels"]) -> str:
    """The array of an archive with the images or the labels: the training data's name for it, else the usual one."""
    name: str | None = bundle.manifest.get("data", {}).get(role)
    return name or role


def separator_of(path: Path, bundle: Bundle) -> str | None:
    """The character between the values of a `.csv`, as in the training data; None for what the file's ending says."""
    separator: str | None = bundle.manifest.get("data", {}).get("separator")
    return separator if ".csv" in path.name.lower() else None


def _images(inputs: Sequence[Path], bundle: Bundle) -> Iterator[Chunk]:
    pictures: list[Path] = []
    archives: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = pictures_below(path)
            if not found:
                raise UserError(f"{path} holds no JPEG or PNG files")
            pictures += found
        elif path.suffix == ".npz":
            archives.append(path)
        elif path.suffix.lower() in SUFFIXES:
            pictures.append(path)
        else:
            raise UserError(
                f"{path}: this ensemble takes {bundle.signature}; "
                "expected a JPEG or PNG image, a folder of them, or an .npz archive"
            )
    return _each(pictures, archives, bundle)


def _each(pictures: Sequence[Path], archives: Sequence[Path], bundle: Bundle) -> Iterator[Chunk]:
    yield from read_pictures(pictures, bundle)
    for path in archives:
        yield from read_archive(path, bundle)


def _tables(inputs: Sequence[Path], bundle: Bundle, signature: TableSignature) -> Iterator[Chunk]:
    missing = missing_marks(bundle)
    for path in inputs:
        table = read_table(path, signature, missing=missing, separator=separator_of(path, bundle))
        yield from split_table(path, table)


def _picture(path: Path, bundle: Bundle) -> Pixels:
    signature = bundle.signature
    assert isinstance(signature, ImageSignature), "pictures are for bundles of images"
    try:
        return read_image(path, shape=signature.shape, resize=bundle.manifest["input"]["resize"])
    except (ImageError, OSError) as error:
        raise UserError(f"{path}: {error}") from None
