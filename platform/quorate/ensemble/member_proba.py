"""Probabilities of one member for all rows that it can predict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Mask

Rows = NDArray[np.int64]

HOPELESS = 31
"""Stop after this number of failed requests without a success: those for all rows, halves, quarters, eighths and
sixteenths. An assumption, not a measurement."""


@dataclass(frozen=True, eq=False)
class MemberProba:
    """Probabilities (n, K), NaN in the rows that the member could not predict (`answered` (n,) is false), and the first
    error."""

    proba: NDArray[np.float32]
    answered: Mask
    error: Exception | None = None


def ask_for_rows(ask: Callable[[Rows], NDArray[np.float32]], *, rows: int, classes: int) -> MemberProba:
    """Request predictions for all rows at once; after an error, request halves, down to the single rows that fail.

    `ask` returns (m, K) for the positions (m,) of rows. A row with a non-finite probability counts as failed.
    """
    proba = np.full((rows, classes), np.nan, np.float32)
    error: Exception | None = None
    waiting = deque([np.arange(rows)])
    failures, answers = 0, 0
    while waiting and (answers or failures < HOPELESS):
        part = waiting.popleft()
        try:
            proba[part] = ask(part)
        except Exception as raised:  # noqa: BLE001 - a member may raise anything; the caller logs it
            failures += 1
            error = error or raised
            if len(part) > 1:
                waiting += np.array_split(part, 2)
        else:
            answers += 1
    answered: Mask = np.asarray(np.isfinite(proba).all(axis=1), dtype=bool)
    proba[~answered] = np.nan
    return MemberProba(proba, answered, error)
