"""Choose one of several candidates by their held-out losses."""

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

    `pieces` are losses of single rows, which may belong to `groups`, or of parts of the rows. They give the standard
    error of the paired difference to the best candidate (Breiman et al. 1984, section 3.4.3, the one standard error
    rule). If there is no standard error, as for rows of one group, the best candidate is chosen.
    """
    best = int(np.argmin(losses))
    errors = [standard_error(each - pieces[best], groups=groups) for each in pieces]
    near = [i for i, found in enumerate(losses) if found - losses[best] <= errors[i] and math.isfinite(errors[i])]
    chosen = min(near, default=best)
    return tuple(
        Candidate(name, found, error if math.isfinite(error) else None, chosen=i == chosen)
        for i, (name, found, error) in enumerate(zip(names, losses, errors, strict=True))
    )
