"""Which members cover enough folds to count, and whether enough of them do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quorate.ensemble.arrays import Mask


class QuorumError(ValueError):
    """Too few members count for the ensemble to be made; the message names those that are missing."""


def coverage(*, mask_by_fold: Mask, need_folds: int) -> Mask:
    """The members (M,) that finished at least `need_folds` of their folds, from (M, F)."""
    enough: Mask = np.count_nonzero(mask_by_fold, axis=1) >= need_folds
    return enough


def common_folds(*, finished: Mask, need: int, enough: Callable[[Mask], bool]) -> Mask:
    """The folds (F,) on which an ensemble is made where time ran out, from (M, F): who has finished all of them counts.

    Members are worth more than rows once there are rows enough to weigh them: all members that have a fold keep their
    place as long as the folds that they share are `enough`. Otherwise those that hold the others back are left out one
    by one, down to `need` members; of the folds shared on the way, the first that are enough are taken, else the most.
    All folds where fewer than `need` members share one.
    """
    here: Mask = np.any(finished, axis=1)
    best = np.zeros(finished.shape[1], dtype=bool)
    while np.count_nonzero(here) >= max(need, 1):
        shared: Mask = np.all(finished[here], axis=0)
        if np.count_nonzero(shared) > np.count_nonzero(best):
            best = shared
            if enough(best):
                break
        here[_hindrance(finished, here)] = False
    return best if best.any() else np.ones_like(best)


def _hindrance(finished: Mask, here: Mask) -> int:
    """Of those that are `here`, the one without whom the others share most folds, and of these who has fewest."""
    lacking = np.count_nonzero(~finished[here], axis=0)
    alone = np.count_nonzero(~finished & (lacking == 1), axis=1)
    order = np.lexsort((np.count_nonzero(finished, axis=1), -alone, ~here))
    return int(order[0])


def check_quorum(*, counted: Mask, need: int, names: Sequence[str]) -> None:
    """Raises QuorumError unless at least `need` of the members called `names` count."""
    present = int(np.count_nonzero(counted))
    if present >= need:
        return
    missing = ", ".join(name for name, counts in zip(names, counted, strict=True) if not counts) or "none"
    raise QuorumError(
        f"no quorum: {present} of {len(names)} members cover enough folds and {need} are needed; missing: {missing}"
    )
