"""Choose one of several candidates by held-out loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from quorate.ensemble.arrays import Floats, Labels
from quorate.ensemble.combination import Candidate
from quorate.ensemble.paired import standard_error


def simplest_within_one_error(
    names: Sequence[str], losses: Sequence[float], pieces: Sequence[Floats], *, groups: Labels | None = None
) -> tuple[Candidate, ...]:
    """Choose the first candidate within one standard error of the best; the simplest candidate comes first.

    `pieces` are each candidate's losses per row, or per part of the rows; rows may belong to `groups`. They give the
    standard error of the paired difference from the best candidate, for the one standard error rule (Breiman et al.
    1984, section 3.4.3). If the standard error is unknown, as with a single group, the best candidate is chosen.
    """
    best = int(np.argmin(losses))
    errors = [standard_error(each - pieces[best], groups=groups) for each in pieces]
    near = [i for i, found in enumerate(losses) if found - losses[best] <= errors[i] and math.isfinite(errors[i])]
    chosen = min(near, default=best)
    return tuple(
        Candidate(name, found, error if math.isfinite(error) else None, chosen=i == chosen)
        for i, (name, found, error) in enumerate(zip(names, losses, errors, strict=True))
    )
