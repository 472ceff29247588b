"""Images that know what a frozen network made of them, so that nobody has to ask it again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Images, Pixels, Rows
from quorate.data.signature import ImageSignature


@dataclass(frozen=True, eq=False)
class Extracted:
    """The vectors (N, width) of all rows, float32, and the network that they come from."""

    backbone: Hashable
    """The network as the job file names it."""
    identity: str
    """Hash of all that decides its vectors, as a saved member knows it."""
    matrix: NDArray[np.float32]
    weights: bytes
    """The network's tensors as safetensors."""


@dataclass(frozen=True, eq=False)
class ExtractedImages:
    """Images with the vectors of one or more networks; a subset slices them when it is asked."""

    images: Images
    found: tuple[Extracted, ...]
    rows: Rows | None = None
    """Which rows of `found` these are; all in their order when None."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    @property
    def signature(self) -> ImageSignature:
        return self.images.signature

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Rows) -> Pixels:
        return self.images.take(rows)

    def subset(self, rows: Rows) -> ExtractedImages:
        of_all = rows if self.rows is None else self.rows[rows]
        return ExtractedImages(self.images.subset(rows), self.found, of_all)

    def digest(self) -> str:
        return self.images.digest()

    def matrix(self, found: Extracted) -> NDArray[np.float32]:
        """The vectors of these rows."""
        return found.matrix if self.rows is None else found.matrix[self.rows]
