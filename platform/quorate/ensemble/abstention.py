"""Rows that an ensemble leaves to people: how often it is wrong on those that it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quorate.ensemble.arrays import Floats, Labels, Mask, Proba
from quorate.ensemble.calibration import normalized_rows


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Error rates of the most confident rows: `risk` (P,) where a share `coverage` (P,) is answered, rising.

    `confidence` (P,) is the least one that is answered; rows of equal confidence are answered together.
    """

    coverage: Floats
    risk: Floats
    confidence: Floats

    @classmethod
    def of(cls, *, proba: Proba, y: Labels) -> RiskCoverage:
        """From probabilities (N, K) and labels (N,) (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017)."""
        p = normalized_rows(proba)
        return cls.of_answers(confidence=p.max(axis=1), right=p.argmax(axis=1) == y)

    @classmethod
    def of_answers(cls, *, confidence: Floats, right: Mask) -> RiskCoverage:
        """From the probability of each row's predicted class (N,), and whether it is the label (N,)."""
        order = np.argsort(-confidence, kind="stable")
        confidence, errors = confidence[order], (~right[order]).cumsum()
        last = np.r_[np.flatnonzero(np.diff(confidence)), len(confidence) - 1]
        answered = last + 1
        return cls(answered / len(confidence), errors[last] / answered, confidence[last])

    @property
    def area(self) -> float:
        """AURC: the mean risk over all coverages, each row a step; the lower the better."""
        return float(np.diff(self.coverage, prepend=0.0) @ self.risk)

    def confidence_for(self, risk: float) -> float | None:
        """The least confidence to answer at so that the error rate was at most `risk`; None where none was."""
        enough = np.flatnonzero(self.risk <= risk)
        return float(self.confidence[enough[-1]]) if enough.size else None

    def at(self, confidence: float) -> tuple[float, float]:
        """Share of the rows answered from `confidence` on, and their error rate; (0, 0) where there are none."""
        answered = np.flatnonzero(self.confidence >= confidence)
        return (float(self.coverage[answered[-1]]), float(self.risk[answered[-1]])) if answered.size else (0.0, 0.0)
