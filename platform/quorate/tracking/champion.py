"""Decide whether a new ensemble replaces the champion, by a paired comparison on the same data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.ensemble.paired import Z, paired_difference


@dataclass(frozen=True, slots=True)
class Verdict:
    """`difference` is the champion's mean log-loss minus the challenger's: positive if the challenger is better."""

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
    groups: NDArray[np.int64] | None = None,
) -> Verdict:
    """Compare cross-fitted out-of-fold log-losses row by row; a test set is never used.

    Args:
        new_losses: (N,), NaN for rows that the challenger's folds do not cover.
        old_losses: (N,) of the champion; None if there is no champion, or if it has no losses.
        old_fingerprint: fingerprint of the champion's data; None if there is no champion.
        groups: the group of each row (N,); the standard error then treats groups as independent, instead of rows.
    """
    if old_fingerprint is None:
        return Verdict(True, "there was no champion")
    if new_fingerprint != old_fingerprint:
        return Verdict(False, "the champion was trained on different data, so their losses cannot be compared")
    if old_losses is None:
        return Verdict(False, "the champion has no out-of-fold losses to compare with")
    if new_losses.shape != old_losses.shape:
        return Verdict(False, f"the champion has losses for {old_losses.size} rows, not {new_losses.size}")
    try:
        found = paired_difference(old_losses, new_losses, groups=groups)
    except ValueError as error:
        return Verdict(False, str(error))
    move = found.mean > Z * found.standard_error
    reason = (
        f"out-of-fold log-loss {'lower' if found.mean >= 0 else 'higher'} by {abs(found.mean):.5f} on {found.rows} rows"
    )
    if found.mean >= 0:
        said = "more" if move else "not more"
        reason += f", {said} than {Z:.2f} standard errors of {found.standard_error:.5f}"
    else:
        reason += f" (standard error {found.standard_error:.5f})"
    return Verdict(move, reason, found.mean, found.standard_error)
