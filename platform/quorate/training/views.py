"""Images augmented in advance: several views of each, and mixtures of two, the same at every access."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quorate.data.dataset import Images, Pixels, Rows, Subsets
from quorate.training.augment import Augment

VERSION = 2
"""Part of the keys of predictions for views; increment it when the same settings give other views."""


@dataclass(frozen=True, eq=False)
class ViewedImages(Subsets):
    """`count` views of N images: position v N + i is view v of image i.

    If v + i is odd, it is a mixture of a view of image i and one of another image, with a fraction drawn from (0, 1)
    (Zhang et al., 2018, with alpha = 1). Half of each view are mixtures, so that the statistics of batch normalization
    fit both. Every image is determined by (seed, position) alone.
    """

    images: Images
    augment: Augment
    count: int
    seed: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    @property
    def copied(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self.images) * self.count

    @property
    def mixed(self) -> NDArray[np.bool_]:
        """Return which positions (count N,) have mixtures, whose labels are meaningless."""
        number, image = np.divmod(np.arange(len(self)), len(self.images))
        odd: NDArray[np.bool_] = (number + image) % 2 == 1
        return odd

    def take(self, rows: Rows) -> Pixels:
        return np.concatenate([self._view(int(row)) for row in rows]) if len(rows) else self.images.take(rows)

    def digest(self) -> str:
        drawn = (self.images.digest(), self.augment.model_dump_json(), self.count, self.seed)
        return hashlib.sha256(repr(drawn).encode()).hexdigest()

    def _view(self, position: int) -> Pixels:
        """uint8 (1, H, W, C)"""
        number, image = divmod(position, len(self.images))
        generator = torch.Generator().manual_seed((self.seed + 1_000_003 * (position + 1)) % 2**63)
        view = self._varied(image, generator)
        if (number + image) % 2 == 0:
            return view.numpy()
        other = self._varied(int(torch.randint(len(self.images), (), generator=generator)), generator)
        share = torch.rand((), generator=generator)
        return torch.lerp(other.float(), view.float(), share).round().to(torch.uint8).numpy()

    def _varied(self, image: int, generator: torch.Generator) -> torch.Tensor:
        pixels = torch.from_numpy(self.images.take(np.array([image])))
        return self.augment(pixels, generator)
