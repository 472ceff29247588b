"""Estimate how long combining takes from two small trials."""

from __future__ import annotations

import time

import numpy as np

from quorate.ensemble.assemble import assemble
from quorate.ensemble.combiner import Combiner
from quorate.registry import KindParams

_MEMBERS, _CLASSES, _ROWS = 8, 50, 128
"""Maximum number of members and of classes in a trial, and minimum number of rows in the first trial. Assumptions, not
measurements."""


def combining_seconds(*, combiner: Combiner[KindParams], members: int, rows: int, n_classes: int) -> float:
    """Estimate the seconds that `assemble` takes for `members` with probabilities (rows, n_classes), on this machine.

    It times the combination of synthetic members on few rows and on four times as many, and extrapolates linearly to
    `rows`. The estimate was 0.7 to 1.2 times the actual time for 5 to 40 members and up to 39,000 rows.
    """
    few, classes = min(members, _MEMBERS), min(n_classes, _CLASSES)
    small = max(_ROWS, 4 * classes)
    _time(combiner, few, small, classes)  # the first call imports modules
    first, second = (_time(combiner, few, size, classes) for size in (small, 4 * small))
    slope = max(second - first, 0.0) / (3 * small)
    scale = (members / few) * (n_classes / classes)
    return scale * (first + slope * max(rows - small, 0))


def _time(combiner: Combiner[KindParams], members: int, rows: int, n_classes: int) -> float:
    random = np.random.default_rng(0)
    y = np.arange(rows) % n_classes
    logits = random.normal(size=(members, rows, n_classes))
    logits[:, np.arange(rows), y] += 2.5  # an accuracy of about 0.8, as for typical members
    proba = np.exp(logits)
    proba /= proba.sum(axis=2, keepdims=True)
    begun = time.perf_counter()
    mask = np.ones((members, rows), dtype=bool)
    assemble(proba=proba.astype(np.float32), mask=mask, y=y, combiner=combiner, seed=0)
    return time.perf_counter() - begun
