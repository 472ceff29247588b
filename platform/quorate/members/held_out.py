"""Hold out some of a fold's training rows, to decide when boosting stops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Rows


def hold_out(
    y: NDArray[np.int64], *, fraction: float, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[Rows, Rows]:
    """Return (positions to learn from, positions held out), both sorted.

    About `fraction` of the rows are held out, stratified by class; with `groups` (N,) whole groups, drawn at random.
    Each class keeps at least one row to learn from, so with few rows or groups there may be no held-out rows.
    """
    random = np.random.default_rng(seed)
    held = _by_class(y, fraction, random) if groups is None else _by_group(y, groups, fraction, random)
    out = np.zeros(len(y), bool)
    out[held] = True
    return np.flatnonzero(~out), np.flatnonzero(out)


def _by_class(y: NDArray[np.int64], fraction: float, random: np.random.Generator) -> Rows:
    shuffled = random.permutation(len(y))
    in_turn = shuffled[np.argsort(y[shuffled], kind="stable")]
    first = np.append(True, np.diff(y[in_turn]) != 0)  # of each class
    candidates = in_turn[~first]
    count = round(fraction * len(candidates))
    places = (np.arange(count) + 0.5) * len(candidates) / max(count, 1)
    held: Rows = candidates[places.astype(np.int64)]
    return held


def _by_group(y: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, random: np.random.Generator) -> Rows:
    left = np.bincount(y)
    held: list[Rows] = []
    for group in random.permutation(np.unique(groups)):
        rows = np.flatnonzero(groups == group)
        classes = np.bincount(y[rows], minlength=len(left))
        if sum(map(len, held)) + len(rows) <= fraction * len(y) and not ((left == classes) & (classes > 0)).any():
            held.append(rows)
            left -= classes
    return np.concatenate(held) if held else np.zeros(0, np.int64)
