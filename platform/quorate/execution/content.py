"""The content of files and states in events: the bytes, or the name of a blob that the worker has written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WrittenBlob:
    """A blob that a worker has written to the store of the job, by its SHA-256."""

    name: str


Content = bytes | WrittenBlob

ContentWriter = Callable[[bytes], Content]
"""Writes a content to the store of the job and returns its blob, or returns the bytes, for the driver to write."""


def inline(content: bytes) -> Content:
    """A `ContentWriter` that leaves the writing to the driver."""
    return content


class Destination(Protocol):
    """Tells a worker where to write; sent to each worker, which calls `connect` once."""

    def connect(self) -> ContentWriter:
        """Begin to find out whether this process reaches the store; return at once."""


def size_of(content: Content) -> int:
    """The bytes of a content that are in memory."""
    return len(content) if isinstance(content, bytes) else 0
