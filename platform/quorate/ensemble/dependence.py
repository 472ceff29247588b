"""Dependence between rows, so that no row is predicted by a fit on rows that depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Labels


@dataclass(frozen=True, eq=False)
class Dependence:
    """The `groups` (N,) or the `time` (N,) of rows; at most one of the two."""

    groups: Labels | None = None
    time: Floats | None = None

    def __post_init__(self) -> None:
        assert self.groups is None or self.time is None, "rows are split by groups or by time"

    @classmethod
    def saved(cls, arrays: Mapping[str, NDArray[Any]]) -> Dependence:
        """Read the dependence from a run's saved arrays; rows are independent if these contain neither groups nor
        time."""
        return cls(arrays.get("groups"), arrays.get("time"))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Dependence:
        """Return the dependence of a subset of rows, given by positions or as a mask."""
        return Dependence(
            None if self.groups is None else self.groups[rows], None if self.time is None else self.time[rows]
        )


INDEPENDENT = Dependence()
