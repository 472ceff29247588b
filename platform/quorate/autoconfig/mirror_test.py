"""Find out from labelled images whether a mirrored image still has the same class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Pixels

ROWS = 2000
"""Number of images in the comparison. An assumption, not a measurement."""
NEIGHBOURS = 5
"""Neighbours that vote. An assumption, not a measurement."""
LEAST = 0.65
"""Minimum share of the accuracy that must be left with mirrored images: it is .35 for the digits of scikit-learn, which
must not be mirrored, and .78 for Fashion-MNIST. Between the two, the number is an assumption."""


def keeps_classes_mirrored(pixels: Pixels, y: NDArray[np.int64]) -> bool:
    """Whether the images (N, H, W, C) most similar to a mirrored image usually have its class `y` (N,).

    The accuracy of a leave-one-out vote of the nearest neighbours, by the cosine of the pixels, is compared for the
    images and for their mirror images.
    """
    drawn = np.sort(np.random.default_rng(0).permutation(len(y))[:ROWS])
    images, labels = pixels[drawn], y[drawn]
    known = _unit(images)
    plain, mirrored = (_accuracy(known, labels, asked) for asked in (known, _unit(images[:, :, ::-1])))
    return mirrored >= LEAST * plain


def _accuracy(known: NDArray[np.float32], y: NDArray[np.int64], asked: NDArray[np.float32]) -> float:
    """The accuracy of the vote for each row of `asked`, which is a version of the same row of `known`."""
    alike = asked @ known.T
    np.fill_diagonal(alike, -np.inf)
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(y) - 1)]
    votes = np.apply_along_axis(np.bincount, 1, y[nearest], minlength=int(y.max()) + 1)
    return float((votes.argmax(axis=1) == y).mean())


def _unit(images: Pixels) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1).astype(np.float32)
    unit: NDArray[np.float32] = flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-9)
    return unit
