"""Read photographs in class folders: `ROOT/CLASS/*.jpg`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quorate.data.dataset import ArrayImages, Dataset, Images
from quorate.data.decoding import Decoder, Decoding, ThreadDecoder, open_pictures
from quorate.data.file_settings import FileSettings
from quorate.data.folders import PictureFolder, class_folders, listed, pictures_below
from quorate.data.labels import encode_labels
from quorate.data.remote import local_folder
from quorate.data.roles import groups_of
from quorate.data.source import DataError, DataParams, OpenedData, TestSplit, hold_out, note_unlabelled, origin_of
from quorate.registry import DATASETS
from quorate.spec import Bytes, DataPath, TestOrigin

_NAMED = 20
"""Maximum number of corrupt files in a message."""


# The default of `in_memory` is an assumption, not a measurement.
class ImageFolderParams(DataParams):
    decodes: ClassVar[bool] = True
    kind: Literal["image_folder"] = "image_folder"
    train: DataPath
    """The folder with one folder per class."""
    test: DataPath | TestSplit | None = None
    """Another such folder, or `{fraction: 0.2}` of the training rows."""
    size: int = Field(ge=4, le=4096)
    """Side of the centre crop that members see, in pixels."""
    resize: int | None = Field(None, ge=4, le=8192)
    """Length of the shorter side after resizing, before the crop, in pixels; by default `size`."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""
    on_corrupt: Literal["error", "skip"] = "error"
    """What to do with files that cannot be decoded: `error` stops and lists them, `skip` leaves them out and counts
    them."""
    in_memory: Bytes = 2 << 30
    """Images whose pixels take more are identified by their files, not by their pixels; and if the cache of the machine
    has no room for them, they are decoded again for each batch instead of in memory."""
    groups: str | None = None
    """A regular expression that is searched for in each file's path below `train`; its first capture group is the row's
    group."""
    unlabelled: DataPath | None = None
    """A folder with additional images without class labels, in subfolders or not."""

    def test_origin(self) -> TestOrigin:
        return origin_of(self.test)

    def file_settings(self) -> FileSettings:
        return FileSettings(groups=self.groups, on_corrupt=self.on_corrupt, resize=self.resize)

    @field_validator("groups")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is not None and not re.compile(pattern).groups:
                raise ValueError(
                    f"{pattern!r} has no capturing group; put the part of the path that names the group in "
                    "(parentheses)"
                )
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern


@DATASETS.register("image_folder")
class ImageFolder:
    """Picture files in one folder per class."""

    Params = ImageFolderParams

    @staticmethod
    def open(params: ImageFolderParams, decoder: Decoder | None = None) -> OpenedData:
        decoder = decoder or ThreadDecoder()
        train, notes = _read(local_folder(params.train, "train"), params, decoder, None, "train")
        more = None
        if params.unlabelled:
            more, _, skipped = _pictures(local_folder(params.unlabelled, "unlabelled"), params, decoder, "unlabelled")
            notes = (*notes, *skipped, note_unlabelled(more))
        if isinstance(params.test, TestSplit):
            return OpenedData(*hold_out(train, params.test), notes, more)
        if params.test is None:
            return OpenedData(train, None, notes, more)
        test, skipped = _read(local_folder(params.test, "test"), params, decoder, train.class_names, "test")
        return OpenedData(train, test, notes + skipped, more)


def _read(
    root: Path, params: ImageFolderParams, decoder: Decoder, names: Sequence[str] | None, key: str
) -> tuple[Dataset, tuple[str, ...]]:
    images, kept, notes = _pictures(root, params, decoder, key)
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
            raise DataError(
                f"{pattern!r} does not match the path {place!r} in {root}; correct the pattern, or remove the file",
                "groups",
            )
        names.append(match[1])
    return groups_of(pd.Series(names))


def _pictures(
    root: Path, params: ImageFolderParams, decoder: Decoder, key: str
) -> tuple[Images, list[Path], tuple[str, ...]]:
    """Return the images below `root`, their files, and notes on what was left out."""
    try:
        found: PictureFolder = pictures_below(root) if key == "unlabelled" else class_folders(root)
    except DataError as error:
        raise DataError(str(error), key) from None
    paths = found.pictures
    how = Decoding((params.size, params.size, params.channels), params.resize)
    opened = open_pictures(paths, how, decoder, in_memory=params.in_memory)
    kept, corrupt = [paths[i] for i in opened.kept], opened.errors
    if corrupt and params.on_corrupt == "error":
        named = "\n  ".join(corrupt[:_NAMED])
        more = f"\n  and {len(corrupt) - _NAMED} more" if len(corrupt) > _NAMED else ""
        message = f"{len(corrupt)} of {len(paths)} files cannot be decoded:\n  {named}{more}"
        raise DataError(f"{message}\nreplace or remove them, or set on_corrupt: skip", key)
    if not kept:
        raise DataError(f"none of the {len(paths)} files in {root} can be decoded", key)
    notes = []
    if corrupt:
        read = set(kept)
        names = [str(path.relative_to(root)) for path in paths if path not in read]
        notes.append(
            f"{root}: {len(corrupt)} of {len(paths)} files cannot be decoded and were skipped: {listed(names)}"
        )
    lost = {path.parent.name for path in paths} - {path.parent.name for path in kept}
    if lost and key != "unlabelled":
        notes.append(f"{root}: no picture of the class {', '.join(sorted(lost))} can be decoded: it is left out")
    if opened.uncached is not None:
        again = "in each job" if isinstance(opened.images, ArrayImages) else "for each batch"
        notes.append(f"{root}: the pictures are decoded again {again}: {opened.uncached}")
    return opened.images, kept, (*notes, *found.notes)
