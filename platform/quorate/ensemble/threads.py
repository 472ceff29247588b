"""Run work on large arrays in two threads: NumPy releases the interpreter lock while it computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

MANY = 2_000_000
"""Minimum number of values for which threads are started; with fewer, starting them takes longer than it saves. An
assumption, not a measurement."""
THREADS = 2
"""Number of threads. An assumption, not a measurement."""


def in_threads(do: Callable[[Any], T], items: Sequence[Any] | Any, *, numbers: int) -> Iterator[T]:
    """Yield `do(item)` for each item, in order; without threads if `numbers`, the total number of values, is small."""
    if numbers < MANY:
        yield from map(do, items)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        waiting = deque(pool.submit(do, item) for item in items[:THREADS])
        for item in items[THREADS:]:
            yield waiting.popleft().result()
            waiting.append(pool.submit(do, item))
        while waiting:
            yield waiting.popleft().result()
