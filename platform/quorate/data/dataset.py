"""What members learn from: images and labels, read-only, known by the hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quorate.data.images import read_image

Rows = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class Images(Protocol):
    """A sequence of images of one shape; `take` gives rows as uint8 (n, H, W, C)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)"""

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> Pixels: ...

    def digest(self) -> str:
        """SHA-256 of the content."""


@dataclass(frozen=True, eq=False)
class ArrayImages:
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
class FileImages:
    """Images that are read and decoded each time they are taken."""

    paths: Sequence[Path]
    shape: tuple[int, int, int]
    resize: int | None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: Rows) -> Pixels:
        return np.stack([read_image(self.paths[row], shape=self.shape, resize=self.resize) for row in rows])

    def digest(self) -> str:
        content = hashlib.sha256(repr((self.shape, self.resize)).encode())
        for path in self.paths:
            content.update(hashlib.sha256(path.read_bytes()).digest())
        return content.hexdigest()


@dataclass(frozen=True, eq=False)
class RowsOf:
    """Some rows of other images, without a copy."""

    images: Images
    rows: Rows

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
class Dataset:
    """Images `x` with labels `y`, int64 (N,), that index `class_names`."""

    x: Images
    y: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y), "images and labels differ in number"

    def __len__(self) -> int:
        return len(self.y)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images, the labels and the class names."""
        content = hashlib.sha256(self.rows_digest.encode())
        content.update(np.ascontiguousarray(self.y).data)
        content.update("\0".join(self.class_names).encode())
        return content.hexdigest()

    @cached_property
    def rows_digest(self) -> str:
        """SHA-256 of the images alone, whatever their labels."""
        return self.x.digest()

    def take(self, rows: Rows) -> Dataset:
        """The dataset of these rows; nothing is copied."""
        return Dataset(RowsOf(self.x, rows), self.y[rows], self.class_names)


def encode_labels(
    labels: NDArray[np.generic], names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels of any type as int64 positions in the class names.

    With `names`, integer labels index them; otherwise the sorted distinct labels are the names.
    Raises `ValueError` for labels that `names` does not hold.
    """
    if names is None:
        classes, y = np.unique(labels, return_inverse=True)
        return y.astype(np.int64), tuple(map(str, classes))
    if np.issubdtype(labels.dtype, np.integer):
        y = labels.astype(np.int64)
        if len(y) and (y.min() < 0 or y.max() >= len(names)):
            wrong = y.min() if y.min() < 0 else y.max()
            raise ValueError(
                f"the label {wrong} is outside 0..{len(names) - 1}, the positions of the {len(names)} class names"
            )
        return y, tuple(names)
    position = {name: i for i, name in enumerate(names)}
    if unknown := sorted(set(map(str, labels)) - set(position)):
        raise ValueError(f"the labels {', '.join(unknown[:5])} are not among the classes {', '.join(names)}")
    return np.array([position[str(label)] for label in labels], dtype=np.int64), tuple(names)
