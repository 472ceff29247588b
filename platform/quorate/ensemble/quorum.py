"""Check that enough members cover enough folds, and choose common folds and members if a budget left folds missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quorate.ensemble.arrays import Mask


class QuorumError(ValueError):
    """Too few members cover enough folds for the ensemble; the message names those that do not."""


def coverage(*, mask_by_fold: Mask, need_folds: int) -> Mask:
    """Return the members (M,) that finished at least `need_folds` of their folds, from (M, F)."""
    enough: Mask = np.count_nonzero(mask_by_fold, axis=1) >= need_folds
    return enough


def common_folds(*, finished: Mask, need: int, enough: Callable[[Mask], bool]) -> Mask:
    """Choose the folds (F,) for an ensemble after time ran out, from (M, F); a member counts if it finished all of
    them.

    Once there are enough rows to fit the weights, more members are better than more rows. So all members with a
    finished fold are kept if the folds that they share are `enough`. Otherwise the member that limits the shared folds
    most is dropped, repeatedly, until `need` members remain. The first set of shared folds that is enough is chosen; if
    none is, the largest set. Returns all folds if fewer than `need` members share one.
    """
    here: Mask = np.any(finished, axis=1)
    best = np.zeros(finished.shape[1], dtype=bool)
    while np.count_nonzero(here) >= max(need, 1):
        shared: Mask = np.all(finished[here], axis=0)
        if np.count_nonzero(shared) > np.count_nonzero(best):
            best = shared
            if enough(best):
                break
        here[_most_limiting_member(finished, here)] = False
    return best if best.any() else np.ones_like(best)


def _most_limiting_member(finished: Mask, here: Mask) -> int:
    """Return the member of `here` whose removal adds the most shared folds; among equals, the one with the fewest
    folds."""
    lacking = np.count_nonzero(~finished[here], axis=0)
    alone = np.count_nonzero(~finished & (lacking == 1), axis=1)
    order = np.lexsort((np.count_nonzero(finished, axis=1), -alone, ~here))
    return int(order[0])


def check_quorum(*, counted: Mask, need: int, names: Sequence[str]) -> None:
    """Raise QuorumError unless at least `need` of the members called `names` count."""
    present = int(np.count_nonzero(counted))
    if present >= need:
        return
    missing = ", ".join(name for name, counts in zip(names, counted, strict=True) if not counts) or "none"
    raise QuorumError(
        f"no quorum: only {present} of {len(names)} members have enough folds, but {need} are required; missing: "
        f"{missing}"
    )
