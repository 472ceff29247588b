"""Means over seeds with 95 % intervals (Student's t)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def half_width(values: Sequence[float]) -> float:
    """Half of the width of the interval of the mean."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ± {half_width(values):.4f}"


def difference(first: Sequence[float], second: Sequence[float]) -> str:
    """The mean of the first less the second, paired, with its interval."""
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    middle, half = float(np.mean(pairs)), half_width(pairs)
    return f"{middle:+.4f} [{middle - half:+.4f}, {middle + half:+.4f}]"
