"""Store the features that a frozen network computes for images, so that they are computed only once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Images, Pixels, Rows
from quorate.data.signature import ImageSignature


@dataclass(frozen=True, eq=False)
class Extracted:
    """The feature vectors (N, width) of all rows, float32, and the network that computed them."""

    backbone: Hashable
    """The network's name in the job file."""
    identity: str
    """Hash of everything that determines the vectors; saved members contain it too."""
    matrix: NDArray[np.float32]
    weights: bytes
    """The network's tensors as safetensors."""


@dataclass(frozen=True, eq=False)
class ExtractedImages:
    """Images with the feature vectors of one or more networks; a subset slices the vectors on request."""

    images: Images
    found: tuple[Extracted, ...]
    rows: Rows | None = None
    """The position of each of these images in the rows of `found`; None means all rows in order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    @property
    def signature(self) -> ImageSignature:
        return self.images.signature

    @property
    def copied(self) -> bool:
        return self.images.copied

    @property
    def decodes(self) -> bool:
        return self.images.decodes

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
        """Return the feature vectors of these rows."""
        return found.matrix if self.rows is None else found.matrix[self.rows]
