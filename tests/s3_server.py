"""A server that speaks the protocol of S3, for tests: moto, with conditions that hold across threads.

Run as a process of its own, with its address; prints its port. `POST /-/age` lets an object look older, the bucket
`forbidden` refuses all requests, and the bucket `overloaded` asks to slow down.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

Environment = dict[str, Any]
Start = Callable[..., Any]

_ANSWERS = {
    "/forbidden": ("403 Forbidden", "AccessDenied"),
    "/overloaded": ("503 Service Unavailable", "SlowDown"),
}


class Server:
    """moto decides a condition and writes in two steps; the lock makes them one, as S3 does."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: Environment, start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        for bucket, (status, code) in _ANSWERS.items():
            if path.startswith(bucket):
                start(status, [("Content-Type", "application/xml")])
                return [
                    f"<Error><Code>{code}</Code><Message>no</Message>"
                    "<AWSAccessKeyId>AKIDTEST</AWSAccessKeyId></Error>".encode()
                ]
        with self._lock:
            if path == "/-/age":
                self._age(**json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
                start("204 No Content", [])
                return []
            return list(self._moto(environ, start))

    def _age(self, bucket: str, key: str, seconds: float) -> None:
        for account in s3_backends.values():
            for backend in account.values():
                if bucket in backend.buckets:
                    backend.buckets[bucket].keys[key].last_modified -= timedelta(seconds=seconds)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = make_server(sys.argv[1], 0, Server(), threaded=True, request_handler=_Quiet)
    print(server.port, flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()  # with its parent
    server.serve_forever()
