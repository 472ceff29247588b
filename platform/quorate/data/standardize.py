"""Standardize pixels with statistics of the training rows of one fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Images
from quorate.data.signature import Signature
from quorate.data.whitening import MOST_VALUES, fit_whitening

Scheme = Literal["channel", "feature", "sample", "quantile", "robust", "pca", "zca", "none"]
"""`quantile` is only for tables; `sample` and `zca` are only for images."""

_NOT_FOR = {"image": ("quantile",), "table": ("sample", "zca")}
_WHITENING = "whitening.safetensors"
_READ = 32 << 20
"""Bytes of images that are read at once for exact sums. An assumption, not a measurement."""

_BLOCK = 256
"""Number of rows whose squared pixels are summed at once: 256 * 255 ** 2 is within int32."""


def check_scheme(scheme: str, signature: Signature) -> None:
    """Raise `ValueError` if `scheme` is not defined for rows of `signature`, or would take too long."""
    if scheme in _NOT_FOR[signature.kind]:
        raise ValueError(f"standardize: {scheme} does not apply to {signature}; choose feature or none")
    if scheme in ("pca", "zca") and signature.size > MOST_VALUES:
        smaller = "smaller images (`size` of the data)" if signature.kind == "image" else "fewer columns"
        raise ValueError(
            f"standardize: {scheme} allows at most {MOST_VALUES:,} values per row, but {signature} have "
            f"{signature.size:,}; choose feature or none, or {smaller}"
        )


@dataclass(frozen=True)
class Standardizer:
    """(x / 255 - mean) / std, float32.

    `mean` and `std` have the shape (1, 1, C) for the scheme `channel`, and (H, W, C) for `feature`. With `sample`, each
    image uses its own mean and standard deviation over (H, W, C). A standard deviation of zero is replaced by one. With
    `robust`, `mean` and `std` are the median and the interquartile range of each feature. With `pca` and `zca`, the
    flattened difference from the mean is multiplied by a `matrix` (d, d), d = H·W·C.
    """

    scheme: Scheme
    mean: NDArray[np.float32] | None = None
    std: NDArray[np.float32] | None = None
    matrix: NDArray[np.float32] | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert uint8 (n, H, W, C) to float32 of the same shape."""
        x = pixels.astype(np.float32) / np.float32(255)
        if self.scheme == "sample":
            mean = x.mean(axis=(1, 2, 3), keepdims=True)
            std = x.std(axis=(1, 2, 3), keepdims=True)
            scaled: NDArray[np.float32] = (x - mean) / np.where(std > 1e-6, std, np.float32(1))
            return scaled
        if self.matrix is not None:
            assert self.mean is not None, "a whitening has a mean and a matrix"
            with threadpool_limits(1):
                whitened: NDArray[np.float32] = np.matmul(
                    (x - self.mean).reshape(len(x), -1), self.matrix, dtype=np.float32
                )
            return whitened.reshape(x.shape)
        if self.mean is None or self.std is None:
            return x
        standardized: NDArray[np.float32] = (x - self.mean) / self.std
        return standardized

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the matrix, if any, to `folder`, and return the other parts as JSON values."""
        if self.matrix is not None:
            save_file({"matrix": self.matrix}, folder / _WHITENING)
        return self.to_json()

    @classmethod
    def load(cls, folder: Path, saved: dict[str, Any]) -> Standardizer:
        """Load what `save` wrote; raises `ValueError` for a matrix of another size."""
        plain = cls.from_json(saved)
        if plain.scheme not in ("pca", "zca"):
            return plain
        matrix = load_file(folder / _WHITENING)["matrix"]
        if plain.mean is None or matrix.shape != (plain.mean.size, plain.mean.size):
            raise ValueError(f"the saved whitening is inconsistent: its matrix is {matrix.shape}")
        return cls(plain.scheme, plain.mean, None, matrix)

    def to_json(self) -> dict[str, Any]:
        """Return everything except the matrix."""
        arrays = {"mean": self.mean, "std": self.std}
        return {
            "scheme": self.scheme,
            **{name: None if a is None else a.tolist() for name, a in arrays.items()},
        }

    @classmethod
    def of_channels(cls, mean: Sequence[float], std: Sequence[float]) -> Standardizer:
        """Create it from known channel statistics, for pixels scaled to [0, 1]."""
        shape = (1, 1, len(mean))
        return cls("channel", np.array(mean, np.float32).reshape(shape), np.array(std, np.float32).reshape(shape))

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Standardizer:
        mean, std = (None if saved[name] is None else np.array(saved[name], np.float32) for name in ("mean", "std"))
        return cls(saved["scheme"], mean, std)


def fit_standardizer(images: Images, scheme: Scheme, *, chunk: int = 4096) -> Standardizer:
    """Fit the statistics to all rows of `images`, which are read in chunks of at most `chunk` rows."""
    if scheme in ("sample", "none"):
        return Standardizer(scheme)
    if scheme == "pca" or scheme == "zca":
        centre, matrix = fit_whitening(images, scheme, chunk=chunk)
        return Standardizer(scheme, centre, None, matrix)
    if scheme == "robust":
        return Standardizer(scheme, *_median_and_range(images, _rows_at_once(images, chunk)))
    total, square = _sums(images, _rows_at_once(images, chunk))
    count, shape = len(images), images.shape
    if scheme == "channel":
        height, width, channels = images.shape
        count, shape = count * height * width, (1, 1, channels)
        total, square = total.sum(axis=(0, 1)), square.sum(axis=(0, 1))
    mean = total / (255 * count)
    std = np.sqrt(np.maximum(square / (255**2 * count) - mean**2, 0))
    std = np.where(std > 1e-6, std, 1)
    fitted = [np.asarray(statistic, dtype=np.float32).reshape(shape) for statistic in (mean, std)]
    return Standardizer(scheme, *fitted)


def _rows_at_once(images: Images, chunk: int) -> int:
    """The number of rows to read for exact sums, which do not depend on it: at most `chunk`, and `_READ` bytes."""
    return max(1, min(chunk, _READ // images.signature.size))


def _sums(images: Images, chunk: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the exact sums over the rows of each value and of its square, int64 (H, W, C)."""
    total = np.zeros(images.shape, np.int64)
    square = np.zeros_like(total)
    for start in range(0, len(images), chunk):
        pixels = images.take(np.arange(start, min(start + chunk, len(images))))
        for block in np.split(pixels, range(_BLOCK, len(pixels), _BLOCK)):  # 256 * 255 ** 2 is within int32
            wide = block.astype(np.uint16)
            total += wide.sum(axis=0, dtype=np.int32)
            square += np.einsum("n...,n...->...", wide, wide, dtype=np.int32)
    return total, square


def _median_and_range(images: Images, chunk: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the median and interquartile range of each feature, like scikit-learn's `RobustScaler`.

    A range of zero is replaced by one.
    """
    d, n = images.signature.size, len(images)
    counts = np.zeros(d * 256, np.int64)
    for start in range(0, n, chunk):
        levels = images.take(np.arange(start, min(start + chunk, n))).reshape(-1, d) + 256 * np.arange(d)
        counts += np.bincount(levels.ravel(), minlength=len(counts))
    up_to = counts.reshape(d, 256).cumsum(axis=1)

    def quantile(q: float) -> NDArray[np.float64]:
        below, part = divmod(q * (n - 1), 1)
        first, second = ((up_to > rank).argmax(axis=1) for rank in (below, min(below + 1, n - 1)))
        found: NDArray[np.float64] = (first + part * (second - first)) / 255
        return found

    between = quantile(0.75) - quantile(0.25)
    statistics = (quantile(0.5), np.where(between > 0, between, 1))
    median, scale = (statistic.astype(np.float32).reshape(images.shape) for statistic in statistics)
    return median, scale
