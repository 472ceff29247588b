"""Define datasets: read-only rows and labels, identified by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quorate.data.images import read_image
from quorate.data.labels import LabelCoding
from quorate.data.signature import ImageSignature, Signature
from quorate.data.table import Table

Rows = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class Images(Protocol):
    """A sequence of images of one shape; `take` returns rows as uint8 (n, H, W, C)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)"""

    @property
    def signature(self) -> ImageSignature: ...

    @property
    def copied(self) -> bool:
        """Whether a network copies them to memory if they are few, because each access computes them."""

    @property
    def decodes(self) -> bool:
        """Whether each access decodes picture files, so that a network reads its batches ahead."""

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> Pixels: ...

    def subset(self, rows: Rows) -> Images:
        """Return the images of these rows."""

    def digest(self) -> str:
        """Return the SHA-256 of the content."""


class Subsets:
    """Base class of image sequences: it provides the signature, and subsets that do not copy images."""

    @property
    def copied(self) -> bool:
        return False

    @property
    def decodes(self) -> bool:
        return False

    @property
    def signature(self: Images) -> ImageSignature:
        return ImageSignature(self.shape)

    def subset(self: Images, rows: Rows) -> Images:
        return RowsOf(self, rows)


@dataclass(frozen=True, eq=False)
class ArrayImages(Subsets):
    """Images in memory: uint8 (N, H, W, C)."""

    pixels: Pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Rows) -> Pixels:
        return self.pixels[rows]

    def digest(self) -> str:
        content = hashlib.sha256(repr(self.pixels.shape).encode())
        content.update(np.ascontiguousarray(self.pixels).data)
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class FileImages(Subsets):
    """Images that are read and decoded on each access."""

    paths: Sequence[Path]
    shape: tuple[int, int, int]
    resize: int | None
    content: str
    """SHA-256 of the settings above and of the content of the files."""

    @property
    def decodes(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Rows) -> Pixels:
        pixels: Pixels = np.empty((len(rows), *self.shape), np.uint8)
        for i, row in enumerate(rows):
            pixels[i] = read_image(self.paths[row], shape=self.shape, resize=self.resize)
        return pixels

    def digest(self) -> str:
        return self.content


@dataclass(frozen=True, eq=False)
class RowsOf(Subsets):
    """A subset of other images, without a copy."""

    images: Images
    rows: Rows

    @property
    def copied(self) -> bool:
        return self.images.copied

    @property
    def decodes(self) -> bool:
        return self.images.decodes

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Rows) -> Pixels:
        return self.images.take(self.rows[rows])

    def digest(self) -> str:
        content = hashlib.sha256(self.images.digest().encode())
        content.update(np.ascontiguousarray(self.rows).data)
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class JoinedImages(Subsets):
    """Several sequences of images of one shape, concatenated."""

    parts: Sequence[Images]

    @property
    def copied(self) -> bool:
        return any(part.copied for part in self.parts)

    @property
    def decodes(self) -> bool:
        return any(part.decodes for part in self.parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.parts[0].shape

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def take(self, rows: Rows) -> Pixels:
        pixels: Pixels = np.empty((len(rows), *self.shape), np.uint8)
        begin = 0
        for part in self.parts:
            own = (rows >= begin) & (rows < begin + len(part))
            pixels[own] = part.take(rows[own] - begin)
            begin += len(part)
        return pixels

    def digest(self) -> str:
        content = hashlib.sha256()
        for part in self.parts:
            content.update(part.digest().encode())
        return content.hexdigest()


Inputs = Images | Table
"""The input of a member: images or a table."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows `x` with labels `y`, int64 (N,), that index `class_names`.

    `weight` float32 (N,) is the weight of each row in training. `groups` int64 (N,) is the group of each row: no group
    is in both the training and the validation rows of a fold. `time` float64 (N,) orders the rows. `labels_are` records
    how integer labels were converted to `y`, so that later rows are labelled in the same way. `soft` (N, K) are a
    teacher's probabilities, NaN in rows without a prediction, and `labelled` bool (N,) are the rows whose labels are
    used in addition to them.
    """

    x: Inputs
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    weight: NDArray[np.float32] | None = None
    groups: NDArray[np.int64] | None = None
    time: NDArray[np.float64] | None = None
    labels_are: LabelCoding = "names"
    soft: NDArray[np.floating[Any]] | None = None
    labelled: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        assert all(len(part) == len(self.y) for part in (self.x, *self._per_row().values())), "parts differ in rows"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def signature(self) -> Signature:
        """The signature of one row."""
        return self.x.signature

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows, the labels, the class names and the weights."""
        content = hashlib.sha256(self.rows_digest.encode())
        content.update(np.ascontiguousarray(self.y).data)
        content.update("\0".join(self.class_names).encode())
        if self.weight is not None:
            content.update(b"weight" + np.ascontiguousarray(self.weight).tobytes())
        return content.hexdigest()

    @cached_property
    def rows_digest(self) -> str:
        """SHA-256 of the rows without their labels."""
        return self.x.digest()

    def take(self, rows: Rows) -> Dataset:
        """Return the dataset of these rows; images are not copied."""
        parts = {name: values[rows] for name, values in self._per_row().items()}
        return Dataset(self.x.subset(rows), self.y[rows], self.class_names, **parts, labels_are=self.labels_are)

    def _per_row(self) -> dict[str, NDArray[Any]]:
        named = {
            "weight": self.weight,
            "groups": self.groups,
            "time": self.time,
            "soft": self.soft,
            "labelled": self.labelled,
        }
        return {name: values for name, values in named.items() if values is not None}
