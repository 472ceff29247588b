"""Read the body of a request, with limits on size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from quorate.serving.errors import RequestError

CLOSE = {"Connection": "close"}
"""Headers of the response if part of the body was not read, because the connection cannot be reused then."""


class BodiesFull(RuntimeError):
    """The bodies of all current requests together exceed the limit of the front."""


class Storage:
    """Count the bytes of all bodies in memory, and limit them to `most`."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts the bytes of one body, and raises `BodiesFull`; they are released when the block
        ends."""
        held = 0

        def add(count: int) -> None:
            nonlocal held
            if self._count + count > self._most:
                raise BodiesFull(f"the current requests have reached the limit of {self._most:,} bytes")
            self._count += count
            held += count

        try:
            yield add
        finally:
            self._count -= held


async def read_body(request: Request, *, max_bytes: int, timeout_s: float, count: Callable[[int], None]) -> bytes:
    """Read the whole body; raises `RequestError` 413 as soon as it is too long, 408 if it is too slow.

    `count` is called with the length of each chunk before the chunk is stored, and may raise an error. Raises
    Starlette's `ClientDisconnect` if the client disconnects.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_long(max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                if len(body) + len(chunk) > max_bytes:
                    raise _too_long(max_bytes)
                count(len(chunk))
                body += chunk
    except TimeoutError:
        raise RequestError(
            408, f"the body did not arrive within {timeout_s:g} s", field="body", headers=CLOSE
        ) from None
    return bytes(body)


def _too_long(max_bytes: int) -> RequestError:
    return RequestError(
        413, "the body is too long", field="body", expected=f"at most {max_bytes:,} bytes", headers=CLOSE
    )
