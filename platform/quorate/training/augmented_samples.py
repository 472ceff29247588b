"""Sample images of a dataset with their augmented versions, for display."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quorate.data.dataset import Dataset
from quorate.data.standardize import Standardizer
from quorate.data.table import Table
from quorate.training.augment import Augment
from quorate.training.context import Numerics
from quorate.training.feed import PixelFeed
from quorate.training.mixing import mix
from quorate.training.tta import Tta, variant


@dataclass(frozen=True)
class Samples:
    """Original images, and their augmented versions in further columns, with values in [0, 1]."""

    columns: tuple[NDArray[np.float32], ...]
    """Arrays of shape (n, H, W, C); the first holds the originals."""
    shares: tuple[NDArray[np.float32] | None, ...]
    """Fractions of the classes in each image, (n, K), for a column with mixed rows."""
    y: NDArray[np.int64]
    """The class of each row (n,)."""


def samples(data: Dataset, augment: Augment | Tta, *, rows: int, draws: int, size: int | None, seed: int) -> Samples:
    """Return `rows` rows of `data`, taken from the classes in turn, with `draws` augmented versions of each.

    The images are augmented independently of each other, as in training, where their batches vary. For test-time
    augmentation the columns are the passes, at most `draws` of them in addition to the originals.
    """
    assert not isinstance(data.x, Table), "checked earlier"
    feed = PixelFeed(data.x, standardize=Standardizer("none"), numerics=Numerics(), size=size)
    chosen = _in_turn(data.y, rows)
    y = data.y[chosen.numpy()]
    columns = [_shown(feed.batch(chosen))]
    shares: list[NDArray[np.float32] | None] = [None]
    if isinstance(augment, Tta):
        for number in range(1, min(augment.passes, draws + 1)):
            columns.append(_shown(feed.changed(variant(augment.augment, number)).batch(chosen)))
            shares.append(None)
        return Samples(tuple(columns), tuple(shares), y)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        x = torch.cat([feed.batch(row[None], augment, generator) for row in chosen])
        share = None
        if augment.mixing:
            labels = torch.from_numpy(y)
            mixed = mix(augment.mixing, x, labels, n_classes=data.n_classes, weight=None, generator=generator)
            x, share = mixed.x, mixed.shares.numpy()
        columns.append(_shown(x))
        shares.append(share)
    return Samples(tuple(columns), tuple(shares), y)


def _in_turn(y: NDArray[np.int64], count: int) -> torch.Tensor:
    """Return the first row of each class, then the second of each, and so on."""
    turn = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        of_class = np.flatnonzero(y == label)
        turn[of_class] = np.arange(len(of_class))
    return torch.from_numpy(np.lexsort((y, turn))[:count])


def _shown(x: torch.Tensor) -> NDArray[np.float32]:
    shown: NDArray[np.float32] = x.permute(0, 2, 3, 1).clamp(0, 1).numpy()
    return shown
