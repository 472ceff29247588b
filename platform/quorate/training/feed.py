"""Batches of pixels or columns: in seeded order, augmented and standardized on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from quorate.data.dataset import Dataset, Images, Inputs
from quorate.data.features import Features, PixelFeatures
from quorate.data.standardize import Standardizer
from quorate.data.table import Table
from quorate.data.weighting import balanced_rows
from quorate.training.augment import Augment
from quorate.training.context import Numerics
from quorate.training.read_ahead import ReadAhead

IN_MEMORY = 4 << 30
"""Maximum size in bytes of a data set that is copied to the memory of an accelerator; larger ones are read batch by
batch. An assumption, not a measurement."""


class PixelFeed:
    """Images of one dataset as float tensors (n, C, H, W) on the numerics' device.

    On a CPU, each batch is read from the images, whose memory the processes of a machine share.
    """

    def __init__(self, images: Images, *, standardize: Standardizer, numerics: Numerics, size: int | None) -> None:
        self._images = images
        self._standardize = standardize
        self._numerics = numerics
        self._size = size
        self._device = torch.device(numerics.device)
        self._format = torch.channels_last if numerics.memory_format == "channels_last" else torch.contiguous_format
        self._shift, self._scale = self._affine()
        self._whitening = self._linear()
        self._change: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._pixels: torch.Tensor | None = None
        self._ahead = ReadAhead(images) if images.decodes else None
        small = len(images) * int(np.prod(images.shape)) <= IN_MEMORY
        if small and (self._device.type != "cpu" or images.copied):
            self._pixels = torch.from_numpy(images.take(np.arange(len(images)))).to(self._device)

    def __len__(self) -> int:
        return len(self._images)

    def expect(self, batches: Iterable[torch.Tensor]) -> None:
        """Announce the rows of the next calls of `batch`: pictures that are decoded on each access are read ahead."""
        if self._ahead is not None:
            self._ahead.expect(rows.numpy() for rows in batches)

    def batch(
        self, rows: torch.Tensor, augment: Augment | None = None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the images at positions `rows`, standardized and resized; augmented if `augment` is given."""
        if self._pixels is not None:
            pixels = self._pixels[rows.to(self._device)]
        else:
            read = self._images.take if self._ahead is None else self._ahead.take
            pixels = torch.from_numpy(read(rows.numpy())).to(self._device)
        if augment is not None and generator is not None:
            pixels = augment(pixels, generator)
        if self._change is not None:
            pixels = self._change(pixels)
        return self._prepare(pixels)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all images in order."""
        batches = torch.arange(len(self)).split(size)
        self.expect(batches)
        for rows in batches:
            yield self.batch(rows)

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PixelFeed:
        """Return a feed of the same images after `change`, which maps uint8 (n, H, W, C) to the same shape."""
        other = copy.copy(self)
        other._change = change
        return other

    def _affine(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        mean, std = self._standardize.mean, self._standardize.std
        if mean is None or std is None:
            return None, None
        scale = torch.from_numpy(1 / (255 * std))
        shift = torch.from_numpy(-mean / std)
        return shift.permute(2, 0, 1).to(self._device), scale.permute(2, 0, 1).to(self._device)

    def _linear(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Whitening as an affine map of flattened pixels: the vector to add first, and the matrix to multiply with."""
        mean, matrix = self._standardize.mean, self._standardize.matrix
        if mean is None or matrix is None:
            return None
        return torch.from_numpy(-mean.reshape(-1) @ matrix).to(self._device), torch.from_numpy(matrix).to(self._device)

    def _whitened(self, pixels: torch.Tensor, shift: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        flat = pixels.reshape(len(pixels), -1).to(torch.float32) / 255
        x = torch.addmm(shift, flat, matrix).reshape(pixels.shape)
        return x.permute(0, 3, 1, 2).to(memory_format=self._format)

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._whitening is not None:
            return self._resized(self._whitened(pixels, *self._whitening))
        x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=self._format)
        if self._shift is not None and self._scale is not None:
            x = torch.addcmul(self._shift, x, self._scale)
        else:
            x = x / 255
            if self._standardize.scheme == "sample":
                mean = x.mean(dim=(1, 2, 3), keepdim=True)
                std = x.std(dim=(1, 2, 3), keepdim=True, correction=0)
                x = (x - mean) / torch.where(std > 1e-6, std, torch.ones_like(std))
        return self._resized(x)

    def _resized(self, x: torch.Tensor) -> torch.Tensor:
        if self._size is not None and x.shape[2:] != (self._size, self._size):
            x = functional.interpolate(x, size=(self._size, self._size), mode="bilinear", antialias=False)
        return x.contiguous(memory_format=self._format)


class MatrixFeed:
    """Rows of numbers as float tensors (n, width) on the numerics' device."""

    def __init__(self, matrix: NDArray[np.float32], *, numerics: Numerics) -> None:
        self._x = torch.from_numpy(matrix).to(numerics.device)

    def __len__(self) -> int:
        return len(self._x)

    def expect(self, batches: Iterable[torch.Tensor]) -> None:
        """Nothing to do: the rows are in memory."""

    def batch(
        self, rows: torch.Tensor, augment: Augment | None = None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the rows at positions `rows`; tables have no augmentation."""
        return self._x[rows.to(self._x.device)]

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all rows in order."""
        yield from self._x.split(size)


Feed = PixelFeed | MatrixFeed


def training_order(labels: torch.Tensor, *, seed: int, epoch: int, balanced: bool = False) -> torch.Tensor:
    """Return the order of the rows with these labels (n,) in one epoch, determined by (seed, epoch) alone.

    Every row occurs once. With `balanced`, the same number of rows is drawn, but each class occurs equally often.
    """
    seed = (seed ^ 0x5DEECE66D) + epoch
    if balanced:
        return torch.from_numpy(balanced_rows(labels.cpu().numpy(), seed=seed))
    return torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))


def split_batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Split into batches of `size` rows; a single last row joins the batch before it.

    Batch normalization cannot train on a single row.
    """
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def labels_of(data: Dataset, numerics: Numerics) -> torch.Tensor:
    """Return the labels as int64 (N,) on the numerics' device."""
    return torch.from_numpy(np.array(data.y)).to(numerics.device)


def feed_of(x: Inputs, features: Features, *, numerics: Numerics, size: int | None) -> Feed:
    """Create the batches of a network from the rows of images or of a table."""
    if isinstance(x, Table):
        return MatrixFeed(features(x), numerics=numerics)
    assert isinstance(features, PixelFeatures), "inputs are checked earlier"
    return PixelFeed(x, standardize=features.standardizer, numerics=numerics, size=size)
