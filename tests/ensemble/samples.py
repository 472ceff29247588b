"""Synthetic members for the tests: probabilities whose calibration is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def labels(rng: np.random.Generator, *, rows: int, classes: int) -> NDArray[np.int64]:
    return rng.integers(0, classes, rows)


def member(
    rng: np.random.Generator, y: NDArray[np.int64], *, classes: int, skill: float, sharpness: float = 1.0
) -> NDArray[np.float64]:
    """Probabilities (N, K) of a member that leans to the label by `skill`; `sharpness` divides its T."""
    logits = rng.normal(size=(len(y), classes))
    logits[np.arange(len(y)), y] += skill
    return softmax(sharpness * logits)


def members(
    rng: np.random.Generator, y: NDArray[np.int64], *, classes: int, skills: Sequence[float]
) -> NDArray[np.float64]:
    """Members (M, N, K) of the given skills, each with errors and an overconfidence of its own."""
    return np.stack([member(rng, y, classes=classes, skill=skill, sharpness=rng.uniform(0.5, 3)) for skill in skills])
