"""A TCP proxy in front of an HTTP service that can be away, slow, or answer with errors."""

from __future__ import annotations

import asyncio
import threading
from typing import Literal, Self

Mode = Literal["pass", "away", "hanging", "slow", "errors"]
"""`away` ends each connection at once; `hanging` accepts requests and passes nothing on; `slow` passes each piece on
after `DELAY_SECONDS`; `errors` answers every request with 503."""

DELAY_SECONDS = 0.3
_ERROR = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Listens at `address`, and passes connections on to a service; a context manager."""

    def __init__(self, address: str, service: tuple[str, int]) -> None:
        self._address, self._service = address, service
        self._mode: Mode = "pass"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._serve, self._address, 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.url = f"http://{self._address}:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.become("away")
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def become(self, mode: Mode) -> None:
        """Change the behaviour, also for connections that are open."""
        asyncio.run_coroutine_threadsafe(self._become(mode), self._loop).result(10)

    async def _become(self, mode: Mode) -> None:
        self._mode = mode
        if mode in ("away", "errors"):
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self._mode == "away":
                writer.transport.abort()
            elif self._mode == "errors":
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_ERROR)
                await writer.drain()
            else:
                from_service, to_service = await asyncio.open_connection(*self._service)
                await asyncio.gather(self._pass_on(reader, to_service), self._pass_on(from_service, writer))
        except (OSError, asyncio.IncompleteReadError):  # one of the two sides has gone
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 16):
                if self._mode == "slow":
                    await asyncio.sleep(DELAY_SECONDS)
                while self._mode == "hanging":
                    await asyncio.sleep(0.05)
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()
