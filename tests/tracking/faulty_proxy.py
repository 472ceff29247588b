"""A gateway in front of a server, for tests: it passes requests on, refuses them, loses answers, or never answers."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Mode = Literal["pass", "refuse", "lose", "hang"]
"""`refuse` answers 503 without a call of the server, `lose` answers 502 after it, and `hang` never answers."""


class FaultyProxy:
    """Forwards to `target`; `mode` can change at any time, and `seen` counts the requests by mode."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.mode: Mode = "pass"
        self.seen: Counter[Mode] = Counter()
        self.released = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.answer(self)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names of the base class

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        body, mode = asked.rfile.read(int(asked.headers.get("Content-Length", 0))), self.mode
        self.seen[mode] += 1
        if mode == "hang":
            self.released.wait(300)
            asked.close_connection = True
            return
        status, kind, content = 503, "text/html", b"<h1>no server is available</h1>"
        if mode != "refuse":
            try:
                status, kind, content = self._forwarded(asked, body)
            except OSError:  # the server is down, as a gateway says it
                status = 502
            if mode == "lose":
                status, kind, content = 502, "text/html", b"<h1>bad gateway</h1>"
        asked.send_response(status)
        asked.send_header("Content-Type", kind)
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)

    def _forwarded(self, asked: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        kept = {name: value for name, value in asked.headers.items() if name.lower() not in ("host", "connection")}
        try:
            connection.request(asked.command, asked.path, body, kept | {"Host": self.target})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", "application/json"), answer.read()
        finally:
            connection.close()

    @contextmanager
    def running(self) -> Iterator[FaultyProxy]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
