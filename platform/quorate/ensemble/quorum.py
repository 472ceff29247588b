"""Which members cover enough folds to count, and whether enough of them do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quorate.ensemble.arrays import Mask


class QuorumError(ValueError):
    """Too few members count for the ensemble to be made; the message names those that are missing."""


def coverage(*, mask_by_fold: Mask, need_folds: int) -> Mask:
    """The members (M,) that finished at least `need_folds` of their folds, from (M, F)."""
    enough: Mask = np.count_nonzero(mask_by_fold, axis=1) >= need_folds
    return enough


def check_quorum(*, counted: Mask, need: int, names: Sequence[str]) -> None:
    """Raises QuorumError unless at least `need` of the members called `names` count."""
    present = int(np.count_nonzero(counted))
    if present >= need:
        return
    missing = ", ".join(name for name, counts in zip(names, counted, strict=True) if not counts) or "none"
    raise QuorumError(
        f"no quorum: {present} of {len(names)} members cover enough folds and {need} are needed; missing: {missing}"
    )
