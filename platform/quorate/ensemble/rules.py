"""How one of several candidates is chosen by their losses on rows held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quorate.ensemble.arrays import Floats
from quorate.ensemble.combination import Candidate


def simplest_within_one_error(
    names: Sequence[str], losses: Sequence[float], pieces: Sequence[Floats]
) -> tuple[Candidate, ...]:
    """Candidates, the simplest first, with their losses; the first within one standard error of the best is chosen.

    `pieces` are losses of single rows, or of parts of the rows, of which the error of the paired difference to the
    best candidate is told (Breiman et al. 1984, section 3.4.3, the one standard error rule).
    """
    best = int(np.argmin(losses))
    errors = [float((each - pieces[best]).std(ddof=1) / np.sqrt(len(each))) for each in pieces]
    chosen = next(i for i, found in enumerate(losses) if found - losses[best] <= errors[i])
    return tuple(
        Candidate(name, found, error, chosen=i == chosen)
        for i, (name, found, error) in enumerate(zip(names, losses, errors, strict=True))
    )
