"""Times two things in turn, A B A B, and gives the ratio of their speeds pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from scipy import stats


def compare(name: str, ours: Callable[[], object], other: Callable[[], object], *, pairs: int = 10) -> None:
    """Print the median of other's seconds / ours (above 1: ours is faster) with its interval.

    The interval, of order statistics, holds the median of all such pairs with a probability of at least .95, from
    six pairs on: of ten it leaves the least and the greatest ratio out (.979).
    """
    ours(), other()  # warm up
    ratios, seconds = [], []
    for _ in range(pairs):
        mine, theirs = _timed(ours), _timed(other)
        ratios.append(theirs / mine)
        seconds.append(mine)
    low, high = interval(ratios)
    print(
        f"{name:58} {statistics.median(ratios):5.2f}  [{low:.2f}, {high:.2f}]  "
        f"{statistics.median(seconds) * 1e3:8.1f} ms a run",
        flush=True,
    )


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The interval of the median of such ratios, of order statistics: the least and the greatest of fewer than nine."""
    outside = max(int(stats.binom.ppf(0.025, len(ratios), 0.5)) - 1, 0)  # below it, and as many above
    within = sorted(ratios)[outside : len(ratios) - outside]
    return within[0], within[-1]


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
