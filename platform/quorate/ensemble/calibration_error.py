"""The classwise calibration error, and the decomposition of the Brier score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.arrays import Floats, Labels, Proba
from quorate.ensemble.metrics import ECE_BINS
from quorate.ensemble.temperature_scaling import normalized_rows


def classwise_ece(proba: Proba, y: Labels, bins: int = ECE_BINS) -> float:
    """Classwise ECE: the mean over the classes of the calibration error of the class's probability, in equal-mass bins.

    Kull et al. 2019, "Beyond temperature scaling", equation 3. Unlike the ECE of the top class, it also measures the
    probabilities of classes that are not predicted.
    """
    p = normalized_rows(proba)
    return float(np.mean([_gap(p[:, k], y == k, bins) for k in range(p.shape[1])]))


@dataclass(frozen=True)
class BrierParts:
    """The Brier score as reliability - resolution + uncertainty."""

    reliability: float
    """Squared distance of the probabilities from the observed frequencies (0 is perfectly calibrated)."""
    resolution: float
    """How much the observed frequencies differ between the bins, plus the information in the probabilities within a
    bin."""
    uncertainty: float
    """The Brier score of predicting the class frequencies for every row."""

    @property
    def score(self) -> float:
        return self.reliability - self.resolution + self.uncertainty


def brier_parts(proba: Proba, y: Labels, bins: int = ECE_BINS) -> BrierParts:
    """Decompose the multiclass Brier score: the sum over the classes of their decompositions in equal-mass bins.

    Murphy 1973, "A new vector partition of the probability score". Probabilities differ within a bin, so their variance
    and covariance within the bins (Stephenson et al. 2008, "Two extra components in the Brier score decomposition",
    equation 4) are added to the resolution. The parts then sum to the score exactly.
    """
    p = normalized_rows(proba)
    parts = np.sum([_parts(p[:, k], np.asarray(y == k, np.float64), bins) for k in range(p.shape[1])], axis=0)
    return BrierParts(*map(float, parts))


def _parts(p: Floats, happened: Floats, bins: int) -> tuple[float, float, float]:
    place = _equal_mass(p, bins)
    counts = np.bincount(place)
    forecast, frequency = (np.bincount(place, weights=each) / counts for each in (p, happened))
    share, base = counts / len(p), happened.mean()
    within = p - forecast[place]
    reliability = share @ (forecast - frequency) ** 2
    resolution = share @ (frequency - base) ** 2 - (within**2).mean() + 2 * (within * happened).mean()
    return float(reliability), float(resolution), float(base * (1 - base))


def _gap(confidence: Floats, right: NDArray[np.bool_], bins: int) -> float:
    place = _equal_mass(confidence, bins)
    gaps = np.bincount(place, weights=right - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def _equal_mass(values: Floats, bins: int) -> NDArray[np.int64]:
    """Return the bin of each value (N,), numbered without gaps."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.digitize(values, edges, right=True), return_inverse=True)[1].astype(np.int64)
