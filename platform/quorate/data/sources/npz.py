"""Images and labels from NumPy archives."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0, read_magic

from quorate.data.dataset import ArrayImages, Dataset, Pixels, encode_labels
from quorate.data.source import DataError, Opened, RoleParams, TestSplit, hold_out, note_unlabelled, read_roles
from quorate.kinds import DATASETS
from quorate.spec import ExistingPath

_NO_CHANNELS = 16
"""So many values in the last axis, beside 1 or 3 in the second, are columns of pixels rather than channels."""


class NpzParams(RoleParams):
    kind: Literal["npz"] = "npz"
    train: ExistingPath
    """The archive with the training rows."""
    test: ExistingPath | TestSplit | None = None
    """Another archive, or `{fraction: 0.2}` of the training rows."""
    images: str = "images"
    """Name of the image array: uint8 (N, H, W) or (N, H, W, C)."""
    labels: str = "labels"
    """Name of the label array: (N,), integers or text."""
    classes: ExistingPath | None = None
    """A text file with one class name a line; integer labels are positions in it."""
    unlabelled: ExistingPath | None = None
    """An archive with more images, in an array of the same name, whose class nobody knows."""


@DATASETS.register("npz")
class Npz:
    """Arrays of images and labels in `.npz` archives."""

    Params = NpzParams

    @staticmethod
    def open(params: NpzParams) -> Opened:
        names = params.classes.read_text(encoding="utf-8").split("\n") if params.classes else None
        names = [name.strip() for name in names if name.strip()] if names else None
        train = _read(params.train, params, names, "train")
        more = _unlabelled(params.unlabelled, params, train) if params.unlabelled else None
        notes = (note_unlabelled(more),) if more else ()
        if isinstance(params.test, TestSplit):
            return Opened(*hold_out(train, params.test), notes, more)
        if params.test is None:
            return Opened(train, None, notes, more)
        test = _read(params.test, params, list(train.class_names), "test")
        if test.signature != train.signature:
            raise DataError(f"the test set has {test.signature} (HxWxC), the training set {train.signature}", "test")
        return Opened(train, test, notes, more)


def read_images(path: Path, name: str = "images") -> Pixels:
    """The array `name` of an archive as uint8 (N, H, W, C); raises `DataError`."""
    return _images(_array(path, name, "images"), f"{path}: {name}")


def read_labels(path: Path, name: str = "labels") -> np.ndarray:
    """The array `name` of an archive, integers or text; raises `DataError`."""
    labels = _array(path, name, "labels")
    if labels.dtype.kind not in "iubUS":
        raise DataError(f"{path}: {name} of type {labels.dtype}; integers or text are needed", "labels")
    return labels


def _read(path: Path, params: NpzParams, names: list[str] | None, key: str) -> Dataset:
    pixels = _images(_array(path, params.images, "images"), f"{path}: {params.images}")
    labels = read_labels(path, params.labels)
    if labels.shape != (len(pixels),):
        raise DataError(
            f"{path}: {len(pixels)} images but labels of shape {labels.shape}; one label a row is needed", key
        )
    try:
        if key == "test" and names is not None and labels.dtype.kind in "iub" and not params.classes:
            labels = labels.astype(str)  # the names are the training labels themselves
        y, classes = encode_labels(labels, names)
    except ValueError as error:
        raise DataError(f"{path}: {error}", "classes" if params.classes else key) from None

    def column(name: str, role: str) -> pd.Series[Any]:
        values = _array(path, name, role)
        if values.shape != (len(pixels),):
            raise DataError(f"{path}: {name} has shape {values.shape}; one value for each of {len(pixels)} rows", role)
        return pd.Series(values)

    def place(row: int | None) -> str:
        return str(path) if row is None else f"{path}, row {row + 1}"

    roles = read_roles(params, column, place) if key == "train" else {}
    return Dataset(ArrayImages(pixels), y, classes, **roles)


def _unlabelled(path: Path, params: NpzParams, train: Dataset) -> ArrayImages:
    more = ArrayImages(_images(_array(path, params.images, "unlabelled"), f"{path}: {params.images}", "unlabelled"))
    if more.signature != train.signature:
        raise DataError(f"{path} has {more.signature} (HxWxC), the training set {train.signature}", "unlabelled")
    return more


@dataclass(frozen=True)
class Header:
    """What an archive says of one of its arrays."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {self.shape}"


def read_headers(path: Path) -> list[Header]:
    """The arrays of an archive, none of them read; raises `DataError` where the file is no archive."""
    found = []
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC_PREFIX))
        if not zipfile.is_zipfile(path):
            single = start == MAGIC_PREFIX
            what = "is empty" if not start else "is a single array" if single else "is no .npz archive, or cut short"
            raise DataError(f"{path} {what}; save images and labels with numpy.savez")
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = read_magic(file)
                    header = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
                    shape, _, dtype = header(file)
                    found.append(Header(name.removesuffix(".npy"), shape, dtype))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a readable .npz archive: {error}") from None
    return found


def objects_error(path: Path, name: str) -> DataError:
    """For an array of Python objects, which only unpickling could read."""
    return DataError(
        f"{path}: the array {name!r} holds Python objects, which are not read; save text as {name}.astype(str) and "
        f"numbers as {name}.astype('int64')"
    )


def _array(path: Path, name: str, key: str) -> np.ndarray:
    headers = {header.name: header for header in read_headers(path)}
    if name not in headers:
        raise DataError(f"{path} has no array {name!r}, only {', '.join(headers)}", key)
    if headers[name].dtype.hasobject:
        raise objects_error(path, name)
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: np.ndarray = archive[name]
            return array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}") from None


def _images(pixels: np.ndarray, where: str, key: str = "images") -> Pixels:
    if pixels.dtype != np.uint8:
        raise DataError(f"{where} is {pixels.dtype}; uint8 (0..255) is needed: scale and convert it", key)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or 0 in pixels.shape:
        raise DataError(f"{where} has shape {pixels.shape}; (N, H, W) or (N, H, W, C) is needed", key)
    if pixels.shape[1] in (1, 3) and pixels.shape[3] >= _NO_CHANNELS:
        raise DataError(
            f"{where} has shape {pixels.shape}, which looks like (N, C, H, W); (N, H, W, C) is needed: "
            "images.transpose(0, 2, 3, 1)",
            key,
        )
    return pixels
