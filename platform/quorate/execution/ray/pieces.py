"""Send the large contents of events in pieces, so that neither the driver nor Ray's object store holds a whole one."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quorate.execution.content import Content, SpooledFile
from quorate.execution.events import Event, with_contents

LARGE = 16 << 20
"""Bytes of the largest content that travels in its event: an assumption."""

PIECE = 2 << 20
"""Bytes of a piece. Ray frees objects that are not used any longer after a second, or when there are 100 of them: with
larger pieces, more of its object store is in use, and mapped by the driver. For 50 results of 200 MB, the driver grew
by 272 MB, and with pieces of 8 MiB by 443 MB (`python -m tests.benchmarks.results`)."""

MOST_UNREAD = 8
"""Events and pieces of a worker that the driver has not read, after which it sends no more; its tasks go on. An
assumption: 16 MiB of pieces are on the way."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a content of the event that follows; `position` is that of the content in the event."""

    position: int
    content: bytes


def in_pieces(events: Iterable[Event]) -> Iterator[Event | Piece]:
    """Yield the events, each after the pieces of its large contents, which are empty in it."""
    for event in events:
        large: dict[int, bytes] = {}
        small = with_contents(event, _Taking(large))
        for position, content in large.items():
            for start in range(0, len(content), PIECE):
                yield Piece(position, content[start : start + PIECE])
        yield small


class _Taking:
    """Takes the large contents out of an event, by their positions."""

    def __init__(self, large: dict[int, bytes]) -> None:
        self._large, self._positions = large, itertools.count()

    def __call__(self, content: Content) -> Content:
        position = next(self._positions)
        if not isinstance(content, bytes) or len(content) <= LARGE:
            return content
        self._large[position] = content
        return b""


class Arrivals:
    """The contents of the next event of a worker, as far as they have arrived."""

    def __init__(self) -> None:
        self._files: defaultdict[int, SpooledFile] = defaultdict(SpooledFile)

    def __len__(self) -> int:
        """The number of contents of which a part has arrived."""
        return len(self._files)

    def add(self, piece: Piece) -> None:
        """Append a piece to its content; raises `OSError` if the disk for temporary files is full."""
        self._files[piece.position].append(piece.content)

    def completed(self, event: Event) -> Event:
        """The event with the contents that have arrived before it."""
        if not self._files:
            return event
        files, positions = dict(self._files), itertools.count()
        self._files.clear()
        return with_contents(event, lambda content: files.get(next(positions), content))
