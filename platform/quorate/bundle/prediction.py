"""Define the result of a prediction: probabilities, members that failed, and the error if there is no quorum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Mask
from quorate.ensemble.uncertainty import Uncertainty
from quorate.members.base import Proba


class QuorumLost(RuntimeError):
    """Fewer members than the quorum made a prediction; `row` is the first row with too few, or None if all rows are
    affected."""

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem if row is None else f"row {row + 1}: {problem}")
        self.problem, self.row = problem, row


@dataclass(frozen=True)
class Prediction:
    """Probabilities (n, K) of the ensemble, with those of each member if requested."""

    proba: NDArray[np.float64]
    members: dict[str, Proba] | None
    """Probabilities of each member before calibration, NaN in rows that the member failed to predict. None unless
    requested."""
    lost_rows: Mapping[str, Mask] = field(default_factory=dict)
    """Members that failed for some rows, with a mask (n,) of these rows."""
    unfamiliar: Mapping[str, Mask] = field(default_factory=dict)
    """Columns with values unlike those of the training rows, with a mask (n,) of the rows with such values."""
    uncertainty: Uncertainty | None = None
    """Uncertainty of the members; None unless requested."""

    @property
    def lost(self) -> tuple[str, ...]:
        """Members that failed for some or all rows."""
        return tuple(self.lost_rows)
