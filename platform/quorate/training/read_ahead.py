"""Read the next batch of pictures in a thread while a network trains on the current one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from quorate.data.dataset import Images, Pixels, Rows


class ReadAhead:
    """Reads batches of images that are decoded on each access; at most one batch is read in advance.

    Pillow releases the interpreter's lock while it decodes and scales, so both work at the same time.
    """

    def __init__(self, images: Images) -> None:
        self._images, self._thread = images, ThreadPoolExecutor(1, "quorate read ahead")
        self._left: Iterator[Rows] = iter(())
        self._next: tuple[Rows, Future[Pixels]] | None = None

    def expect(self, batches: Iterable[Rows]) -> None:
        """Begin to read the first of these batches; each of the others is read when the one before it is taken."""
        self._left = iter(batches)
        self._begin()

    def take(self, rows: Rows) -> Pixels:
        """Return the pixels of these rows; if they were not expected next, they are read now."""
        if self._next is None or not np.array_equal(self._next[0], rows):
            return self._images.take(rows)
        _, reading = self._next
        pixels = reading.result()
        self._begin()
        return pixels

    def _begin(self) -> None:
        rows = next(self._left, None)
        self._next = None if rows is None else (rows, self._thread.submit(self._images.take, rows))
