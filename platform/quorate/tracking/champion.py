"""Whether a new ensemble replaces the champion: a paired comparison on the same data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""Standard errors that the mean difference must exceed: two-sided 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference` is the champion's mean log-loss minus the challenger's: positive when the new is better."""

    move: bool
    reason: str
    difference: float | None = None
    standard_error: float | None = None


def challenge(
    *,
    new_losses: NDArray[np.float64],
    old_losses: NDArray[np.float64] | None,
    new_fingerprint: str,
    old_fingerprint: str | None,
) -> Verdict:
    """Compare cross-fitted out-of-fold log-losses row by row; never a test set.

    Args:
        new_losses: (N,), NaN where the challenger's folds do not cover a row.
        old_losses: (N,) of the present champion, None where there is none (or it kept none).
        old_fingerprint: of the champion's data, None when there is no champion yet.
    """
    if old_fingerprint is None:
        return Verdict(True, "there was no champion")
    if new_fingerprint != old_fingerprint:
        return Verdict(False, "the champion was trained on different data, so their losses cannot be compared")
    if old_losses is None:
        return Verdict(False, "the champion has no out-of-fold losses to compare with")
    if new_losses.shape != old_losses.shape:
        return Verdict(False, f"the champion has losses for {old_losses.size} rows, not {new_losses.size}")
    pairs = (old_losses - new_losses)[~np.isnan(old_losses) & ~np.isnan(new_losses)]
    if pairs.size < 2:
        return Verdict(False, f"only {pairs.size} rows are covered by both")
    difference = float(pairs.mean())
    error = float(pairs.std(ddof=1) / np.sqrt(pairs.size))
    move = difference > Z * error
    said = "more" if move else "not more"
    reason = (
        f"out-of-fold log-loss lower by {difference:.5f} on {pairs.size} rows, "
        f"{said} than {Z} standard errors of {error:.5f}"
    )
    return Verdict(move, reason, difference, error)
