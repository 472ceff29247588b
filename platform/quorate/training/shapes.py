"""The input shapes of networks: an image's (H, W, C), or the numbers and categories of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableShape:
    """A float32 row of `numbers` numbers, followed by one code below each of `cardinalities`."""

    numbers: int
    cardinalities: tuple[int, ...] = ()
    edges: tuple[tuple[float, ...], ...] = ()
    """The edges of the bins of each number, for architectures that use bins; () for a number without them."""

    @property
    def size(self) -> int:
        """Number of values in one row."""
        return self.numbers + len(self.cardinalities)


Shape = tuple[int, int, int] | TableShape
