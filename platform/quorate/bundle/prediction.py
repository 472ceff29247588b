"""Define what a bundle answers: probabilities, the members that did not answer, and the lack of a quorum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Mask
from quorate.ensemble.uncertainty import Uncertainty
from quorate.members.base import Proba


class QuorumLost(RuntimeError):
    """Fewer members than the quorum answer; `row` is the first such row, or None if it affects all rows."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem if row is None else f"row {row + 1}: {problem}")
        self.problem, self.row = problem, row


@dataclass(frozen=True)
class Prediction:
    """Probabilities (n, K) of the ensemble, with those of each member if requested."""

    proba: NDArray[np.float64]
    members: dict[str, Proba] | None
    """Before calibration; NaN in rows that a member did not answer. None unless requested."""
    lost_rows: Mapping[str, Mask] = field(default_factory=dict)
    """Members that did not answer for some rows, with these rows (n,)."""
    unfamiliar: Mapping[str, Mask] = field(default_factory=dict)
    """Columns with values unlike those of the training rows, with these rows (n,)."""
    uncertainty: Uncertainty | None = None
    """Uncertainty of the members; None unless requested."""

    @property
    def lost(self) -> tuple[str, ...]:
        """Members that did not answer for some rows or for all."""
        return tuple(self.lost_rows)
