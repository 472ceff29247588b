"""Photographs in class folders: `ROOT/CLASS/*.jpg`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quorate.data.dataset import ArrayImages, Dataset, FileImages, Images, encode_labels
from quorate.data.images import ImageError, read_image
from quorate.data.roles import groups_of
from quorate.data.source import DataError, DataParams, Opened, TestSplit, hold_out, note_unlabelled
from quorate.kinds import DATASETS
from quorate.spec import Bytes, ExistingPath

SUFFIXES = {".jpg", ".jpeg", ".png"}


class ImageFolderParams(DataParams):
    kind: Literal["image_folder"] = "image_folder"
    train: ExistingPath
    """The folder whose folders are the classes."""
    test: ExistingPath | TestSplit | None = None
    """Another such folder, or `{fraction: 0.2}` of the training rows."""
    size: int = Field(ge=4, le=4096)
    """Side of the centre crop that members see, in pixels."""
    resize: int | None = Field(None, ge=4, le=8192)
    """Length to which the shorter side is resized before the crop; `size` when left out."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do with files that cannot be decoded: name them and end, or leave them out and count them."""
    in_memory: Bytes = 2 << 30
    """Decoded images are kept in memory up to this size, and decoded again for each batch above it."""
    groups: str | None = None
    """A regular expression, searched in each file's path below `train`; its first group names the row's group."""
    unlabelled: ExistingPath | None = None
    """A folder with more files, in folders or not, whose class nobody knows."""

    @field_validator("groups")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and not re.compile(pattern).groups:
                raise ValueError(f"{pattern!r} has no group; put what names the group in (parentheses)")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern


@DATASETS.register("image_folder")
class ImageFolder:
    """JPEG and PNG files in one folder for each class."""

    Params = ImageFolderParams

    @staticmethod
    def open(params: ImageFolderParams) -> Opened:
        train, notes = _read(params.train, params, None, "train")
        more = None
        if params.unlabelled:
            more, _, skipped = _pictures(params.unlabelled, "**/*", params, "unlabelled")
            notes = (*notes, *skipped, note_unlabelled(more))
        if isinstance(params.test, TestSplit):
            return Opened(*hold_out(train, params.test), notes, more)
        if params.test is None:
            return Opened(train, None, notes, more)
        test, skipped = _read(params.test, params, train.class_names, "test")
        return Opened(train, test, notes + skipped, more)


def _read(
    root: Path, params: ImageFolderParams, names: Sequence[str] | None, key: str
) -> tuple[Dataset, tuple[str, ...]]:
    images, kept, notes = _pictures(root, "*/*", params, key)
    try:
        y, classes = encode_labels(np.array([path.parent.name for path in kept]), names)
    except ValueError as error:
        raise DataError(f"{root}: {error}", key) from None
    groups = _groups(kept, root, params.groups) if params.groups and key == "train" else None
    return Dataset(images, y, classes, groups=groups), notes


def _groups(paths: Sequence[Path], root: Path, pattern: str) -> NDArray[np.int64]:
    names = []
    for path in paths:
        place = path.relative_to(root).as_posix()
        match = re.search(pattern, place)
        if match is None or match[1] is None:
            raise DataError(f"{pattern!r} finds no group in {place!r} below {root}", "groups")
        names.append(match[1])
    return groups_of(pd.Series(names))


def _pictures(
    root: Path, pattern: str, params: ImageFolderParams, key: str
) -> tuple[Images, list[Path], tuple[str, ...]]:
    """The images below `root`, their files, and a note on those that were skipped."""
    paths = [path for path in sorted(root.glob(pattern)) if path.suffix.lower() in SUFFIXES]
    if not paths:
        if key == "unlabelled":
            raise DataError(f"{root} has no JPEG or PNG files", key)
        raise DataError(f"{root} has no folders with JPEG or PNG files; one folder for each class is needed", key)
    images, kept, corrupt = _decode(paths, params)
    if corrupt and params.on_corrupt == "error":
        listed = "\n  ".join(corrupt[:20])
        more = f"\n  and {len(corrupt) - 20} more" if len(corrupt) > 20 else ""
        message = f"{len(corrupt)} of {len(paths)} files cannot be decoded:\n  {listed}{more}"
        raise DataError(f"{message}\nmend or remove them, or set on_corrupt: skip", key)
    if not kept:
        raise DataError(f"none of the {len(paths)} files in {root} can be decoded", key)
    notes = [f"{root}: {len(corrupt)} of {len(paths)} files cannot be decoded and were skipped"] if corrupt else []
    if pattern != "**/*" and (deeper := pictures_deeper(root)):
        notes.append(f"{root}: {len(deeper)} pictures below the class folders are not read, such as {deeper[0]}")
    return images, kept, tuple(notes)


def pictures_deeper(root: Path) -> list[Path]:
    """Pictures in folders of the class folders, which belong to no class."""
    return [path for path in sorted(root.glob("*/*/**/*")) if path.suffix.lower() in SUFFIXES]


def _decode(paths: Sequence[Path], params: ImageFolderParams) -> tuple[Images, list[Path], list[str]]:
    """Every file once: the images, the files that they came from, and what was wrong with the others."""
    shape = (params.size, params.size, params.channels)
    keep = len(paths) * int(np.prod(shape)) <= params.in_memory
    pixels = np.empty((len(paths) if keep else 1, *shape), np.uint8)

    def decode(i: int) -> str | None:
        try:
            pixels[i if keep else 0] = read_image(paths[i], shape=shape, resize=params.resize)
        except (ImageError, OSError) as error:
            return f"{paths[i]}: {error}"
        return None

    with ThreadPoolExecutor() as pool:
        wrong = list(pool.map(decode, range(len(paths))))
    good = np.array([error is None for error in wrong])
    kept = [path for path, ok in zip(paths, good, strict=True) if ok]
    corrupt = [error for error in wrong if error is not None]
    if not keep:
        return FileImages(kept, shape, params.resize), kept, corrupt
    return ArrayImages(pixels if good.all() else pixels[good]), kept, corrupt
