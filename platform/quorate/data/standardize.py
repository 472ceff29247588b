"""Standardization: statistics of the training rows of one fold, applied to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Images
from quorate.data.signature import Signature

Scheme = Literal["channel", "feature", "sample", "quantile", "none"]
"""`quantile` is for tables only."""


def check_scheme(scheme: str, signature: Signature) -> None:
    """Raise `ValueError` where `scheme` has no meaning for such rows."""
    if scheme == ("quantile" if signature.kind == "image" else "sample"):
        raise ValueError(f"standardize: {scheme} is not for {signature}; choose feature or none")


@dataclass(frozen=True)
class Standardizer:
    """(x / 255 - mean) / std, float32.

    `mean` and `std` have the shape (1, 1, C) for the scheme `channel`, (H, W, C) for `feature`; each
    `sample` uses its own mean and deviation over (H, W, C). A deviation of zero counts as one.
    """

    scheme: Scheme
    mean: NDArray[np.float32] | None = None
    std: NDArray[np.float32] | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (n, H, W, C) to float32 of that shape."""
        x = pixels.astype(np.float32) / np.float32(255)
        if self.scheme == "sample":
            mean = x.mean(axis=(1, 2, 3), keepdims=True)
            std = x.std(axis=(1, 2, 3), keepdims=True)
            scaled: NDArray[np.float32] = (x - mean) / np.where(std > 1e-6, std, np.float32(1))
            return scaled
        if self.mean is None or self.std is None:
            return x
        standardized: NDArray[np.float32] = (x - self.mean) / self.std
        return standardized

    def to_json(self) -> dict[str, Any]:
        arrays = {"mean": self.mean, "std": self.std}
        return {
            "scheme": self.scheme,
            **{name: None if a is None else a.tolist() for name, a in arrays.items()},
        }

    @classmethod
    def of_channels(cls, mean: Sequence[float], std: Sequence[float]) -> Standardizer:
        """Known statistics of each channel, of pixels scaled to 0..1."""
        shape = (1, 1, len(mean))
        return cls("channel", np.array(mean, np.float32).reshape(shape), np.array(std, np.float32).reshape(shape))

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Standardizer:
        mean, std = (None if saved[name] is None else np.array(saved[name], np.float32) for name in ("mean", "std"))
        return cls(saved["scheme"], mean, std)


def fit_standardizer(images: Images, scheme: Scheme, *, chunk: int = 4096) -> Standardizer:
    """Statistics over all rows of `images`, float64 sums in chunks."""
    if scheme in ("sample", "none"):
        return Standardizer(scheme)
    axes = (0, 1, 2) if scheme == "channel" else (0,)
    total = square = np.float64(0)
    for start in range(0, len(images), chunk):
        x = images.take(np.arange(start, min(start + chunk, len(images)))).astype(np.float64) / 255
        total, square = total + x.sum(axis=axes), square + (x * x).sum(axis=axes)
    height, width, channels = images.shape
    count = len(images) * (height * width if scheme == "channel" else 1)
    shape = (1, 1, channels) if scheme == "channel" else (height, width, channels)
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0))
    std = np.where(std > 1e-6, std, 1)
    fitted = [np.asarray(statistic, dtype=np.float32).reshape(shape) for statistic in (mean, std)]
    return Standardizer(scheme, *fitted)
