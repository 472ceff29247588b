"""The content of files and states in events: bytes, the name of a blob, or a temporary file of the driver."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from quorate.errors import naming


@dataclass(frozen=True, slots=True)
class WrittenBlob:
    """A blob that a worker has written to the store of the job, by its SHA-256."""

    name: str
    size: int = field(default=0, compare=False)
    """Its bytes; 0 if they are not known."""


class SpooledFile:
    """A content that has arrived in pieces, in a file in the folder for temporary files.

    The file has no name: it disappears with this object, and also if the process is killed.
    """

    def __init__(self) -> None:
        # unbuffered, because a buffer that does not fit on a full disk is written again when the file is closed
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by the finalizer
        self.size = 0
        weakref.finalize(self, self._file.close)

    def append(self, piece: bytes) -> None:
        """Add a piece; raises `OSError` with the folder if its disk is full."""
        left = memoryview(piece)
        with naming(Path(tempfile.gettempdir())):
            while left:
                left = left[self._file.write(left) :]
        self.size += len(piece)

    @property
    def path(self) -> Path:
        """A path at which this process can open the file as often as it needs to, while this object exists."""
        return Path(f"/proc/self/fd/{self._file.fileno()}")


Content = bytes | WrittenBlob | SpooledFile

ContentWriter = Callable[[bytes], Content]
"""Writes a content to the store of the job and returns its blob, or returns the bytes, for the driver to write."""


def inline(content: bytes) -> Content:
    """A `ContentWriter` that leaves the writing to the driver."""
    return content


class Destination(Protocol):
    """Tells a worker where to write; sent to each worker, which calls `connect` once."""

    def connect(self) -> ContentWriter:
        """Begin to find out whether this process reaches the store; return at once."""


@dataclass(frozen=True, slots=True)
class HeldBytes:
    """The bytes that a result takes in the memory of the driver, and in its folder for temporary files."""

    memory: int = 0
    disk: int = 0

    def __add__(self, other: HeldBytes) -> HeldBytes:
        return HeldBytes(self.memory + other.memory, self.disk + other.disk)

    def __sub__(self, other: HeldBytes) -> HeldBytes:
        return HeldBytes(self.memory - other.memory, self.disk - other.disk)


def held_by(content: Content) -> HeldBytes:
    """The bytes that a content takes here."""
    if isinstance(content, SpooledFile):
        return HeldBytes(disk=content.size)
    return HeldBytes(len(content)) if isinstance(content, bytes) else HeldBytes()


def size_of(content: Content) -> int:
    """The bytes of a content, wherever they are."""
    return len(content) if isinstance(content, bytes) else content.size
