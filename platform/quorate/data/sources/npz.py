"""Read images and labels from NumPy archives."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0, read_magic

from quorate.data.dataset import ArrayImages, Dataset, Pixels
from quorate.data.file_settings import FileSettings
from quorate.data.in_memory import as_images
from quorate.data.labels import LabelCoding, LabelError, coding_of, encode_labels, plain_labels
from quorate.data.remote import local_file
from quorate.data.signature import ImageSignature
from quorate.data.source import (
    DataError,
    OpenedData,
    RoleParams,
    TestSplit,
    hold_out,
    note_unlabelled,
    origin_of,
    read_roles,
)
from quorate.registry import DATASETS
from quorate.spec import DataPath, TestOrigin


class NpzParams(RoleParams):
    kind: Literal["npz"] = "npz"
    train: DataPath
    """The archive with the training rows."""
    test: DataPath | TestSplit | None = None
    """Another archive, or `{fraction: 0.2}` of the training rows."""
    images: str = "images"
    """Name of the image array: uint8 (N, H, W) or (N, H, W, C)."""
    labels: str = "labels"
    """Name of the label array: (N,), integers or text."""
    classes: DataPath | None = None
    """A text file with one class name per line; integer labels are positions in it."""
    unlabelled: DataPath | None = None
    """An archive with additional images without class labels; its image array has the name given by `images`."""

    def test_origin(self) -> TestOrigin:
        return origin_of(self.test)

    def file_settings(self) -> FileSettings:
        return replace(super().file_settings(), images=self.images, labels=self.labels)


@DATASETS.register("npz")
class Npz:
    """Arrays of images and labels in `.npz` archives."""

    Params = NpzParams

    @staticmethod
    def open(params: NpzParams) -> OpenedData:
        names = read_class_names(local_file(params.classes, "classes")) if params.classes else None
        train = _read(local_file(params.train, "train"), params, names, "train")
        more = _unlabelled(local_file(params.unlabelled, "unlabelled"), params, train) if params.unlabelled else None
        notes = (note_unlabelled(more),) if more else ()
        if isinstance(params.test, TestSplit):
            return OpenedData(*hold_out(train, params.test), notes, more)
        if params.test is None:
            return OpenedData(train, None, notes, more)
        test = _read(local_file(params.test, "test"), params, list(train.class_names), "test", train.labels_are)
        if test.signature != train.signature:
            raise DataError(
                f"the test set has {test.signature} (HxWxC), but the training set has {train.signature}", "test"
            )
        return OpenedData(train, test, notes, more)


def read_class_names(path: Path) -> list[str]:
    """Return the lines of a text file except blank ones; raises `DataError`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}", "classes") from None
    names = [line.strip() for line in lines if line.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} contains these class names more than once: {', '.join(twice)}", "classes")
    if not names:
        raise DataError(f"{path} is empty; it must have one class name per line", "classes")
    return names


def read_images(path: Path, name: str = "images") -> Pixels:
    """Read the array `name` of an archive as uint8 (N, H, W, C); raises `DataError`."""
    return _images(_array(path, name, "images"), f"{path}: {name}")


def read_signature(path: Path, name: str = "images") -> ImageSignature:
    """Return the signature of the images in the array `name` from its header alone; raises `DataError`."""
    header = _header(path, name, "images")
    blank = np.broadcast_to(np.zeros((), header.dtype), header.shape)
    return ArrayImages(_images(blank, f"{path}: {name}")).signature


def read_labels(path: Path, name: str = "labels") -> np.ndarray:
    """Read the array `name` of an archive as integers, truth values or text; raises `DataError`."""
    try:
        return plain_labels(_array(path, name, "labels"))
    except LabelError as error:
        raise DataError(f"{path}: {name}: {error}", "labels") from None


def _read(
    path: Path, params: NpzParams, names: list[str] | None, key: str, coding: LabelCoding | None = None
) -> Dataset:
    """Read the rows of an archive; its labels have the `coding` of the training labels."""
    pixels = _images(_array(path, params.images, "images"), f"{path}: {params.images}")
    labels = read_labels(path, params.labels)
    if labels.shape != (len(pixels),):
        raise DataError(
            f"{path}: {len(pixels)} images but labels of shape {labels.shape}; one label per row is required", key
        )
    coding = coding or coding_of(labels, names)
    try:
        y, classes = encode_labels(labels, names, coding)
    except LabelError as error:
        raise DataError(f"{path}: {error}", "classes" if params.classes else key) from None

    def column(name: str, role: str) -> pd.Series[Any]:
        values = _array(path, name, role)
        if values.shape != (len(pixels),):
            raise DataError(f"{path}: {name} has shape {values.shape}; {len(pixels)} values are required", role)
        return pd.Series(values)

    def place(row: int | None) -> str:
        return str(path) if row is None else f"{path}, row {row + 1}"

    roles = read_roles(params, column, place) if key == "train" else {}
    return Dataset(ArrayImages(pixels), y, classes, **roles, labels_are=coding)


def _unlabelled(path: Path, params: NpzParams, train: Dataset) -> ArrayImages:
    more = ArrayImages(_images(_array(path, params.images, "unlabelled"), f"{path}: {params.images}", "unlabelled"))
    if more.signature != train.signature:
        raise DataError(
            f"{path} has {more.signature} (HxWxC), but the training set has {train.signature}", "unlabelled"
        )
    return more


@dataclass(frozen=True)
class Header:
    """The header of an array in an archive."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {self.shape}"


def read_headers(path: Path) -> list[Header]:
    """Return the headers of an archive without reading its arrays; raises `DataError` if it is not an archive."""
    found = []
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC_PREFIX))
        if not zipfile.is_zipfile(path):
            single = start == MAGIC_PREFIX
            what = "is empty" if not start else "is a single array" if single else "is not a complete .npz archive"
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
    """Return the error for an array of Python objects, which only unpickling could read."""
    return DataError(
        f"{path}: the array {name!r} contains Python objects, which are not loaded; save text as {name}.astype(str) "
        f"and numbers as {name}.astype('int64')"
    )


def _header(path: Path, name: str, key: str) -> Header:
    headers = {header.name: header for header in read_headers(path)}
    if name not in headers:
        raise DataError(f"{path} has no array {name!r} (it contains {', '.join(headers)})", key)
    if headers[name].dtype.hasobject:
        raise objects_error(path, name)
    return headers[name]


def _array(path: Path, name: str, key: str) -> np.ndarray:
    _header(path, name, key)
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: np.ndarray = archive[name]
            return array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .npz archive: {error}") from None


def _images(pixels: np.ndarray, where: str, key: str = "images") -> Pixels:
    if pixels.dtype != np.uint8:
        raise DataError(f"{where} is {pixels.dtype}; uint8 (0..255) is required: scale and convert it", key)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise DataError(f"{where} has shape {pixels.shape}; (N, H, W) or (N, H, W, C) is required", key)
    try:
        return as_images(pixels).pixels
    except ValueError as error:
        raise DataError(f"{where}: {error}", key) from None
