"""Risk-coverage analysis: the error rate of an ensemble that predicts confident rows and abstains on the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.temperature_scaling import normalized_rows


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Error rates `risk` (P,) on the most confident rows, for increasing fractions `coverage` (P,) of predicted rows.
    `confidence` (P,) is the lowest confidence of a predicted row. Rows of equal confidence are predicted together.
    """

    coverage: Floats
    risk: Floats
    confidence: Floats

    @classmethod
    def of(cls, *, proba: Proba, y: Labels) -> RiskCoverage:
        """Compute the curve from probabilities (N, K) and labels (N,) (El-Yaniv and Wiener 2010; Geifman and El-Yaniv
        2017)."""
        p = normalized_rows(proba)
        return cls.of_answers(confidence=p.max(axis=1), right=p.argmax(axis=1) == y)

    @classmethod
    def of_answers(cls, *, confidence: Floats, right: Mask) -> RiskCoverage:
        """Compute the curve from each row's confidence (N,), the probability of its predicted class, and correctness
        (N,)."""
        order = np.argsort(-confidence, kind="stable")
        confidence, errors = confidence[order], (~right[order]).cumsum()
        last = np.r_[np.flatnonzero(np.diff(confidence)), len(confidence) - 1]
        answered = last + 1
        return cls(answered / len(confidence), errors[last] / answered, confidence[last])

    @property
    def area(self) -> float:
        """Area under the risk-coverage curve (AURC): the mean risk over all rows, each at its coverage. Lower is
        better."""
        return float(np.diff(self.coverage, prepend=0.0) @ self.risk)

    def confidence_for(self, risk: float) -> float | None:
        """Return the lowest confidence threshold with an error rate of at most `risk`; None if there is none."""
        enough = np.flatnonzero(self.risk <= risk)
        return float(self.confidence[enough[-1]]) if enough.size else None

    def at(self, confidence: float) -> tuple[float, float]:
        """Return the fraction of rows with at least this `confidence`, and their error rate; (0, 0) if there are
        none."""
        answered = np.flatnonzero(self.confidence >= confidence)
        return (float(self.coverage[answered[-1]]), float(self.risk[answered[-1]])) if answered.size else (0.0, 0.0)
