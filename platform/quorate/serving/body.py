"""Reads a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from quorate.serving.errors import RequestError

CLOSE = {"Connection": "close"}
"""Sent where part of the body is left unread: the connection cannot be used again."""


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body; raises `RequestError` 413 as soon as it is too long, 408 when it is too slow.

    Raises starlette's `ClientDisconnect` when the client goes away.
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
