"""Check, batch and answer HTTP requests, as an ASGI application that does not use Ray."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from quorate.serving.auth import is_allowed
from quorate.serving.batcher import Batcher, QueueFull, Rows
from quorate.serving.body import CLOSE, BodiesFull, Storage, read_body
from quorate.serving.errors import ModelFailed, ModelUnavailable, RequestError, RowRefused
from quorate.serving.limits import Limits
from quorate.serving.model import ModelInfo, Scores
from quorate.serving.request import check_content_type, check_query, read_flag, read_rows
from quorate.serving.response import predictions_json, to_json

log = logging.getLogger(__name__)

ROUTES = {
    "POST /v1/predict": "class and probabilities of each row; ?members=true adds those of each member",
    "GET /v1/metadata": "classes, input, members, metrics",
    "GET /healthz": "200 when the model answers",
}
READERS = 4
"""Number of threads that decode bodies. Decoding a picture takes up to 200 MB. An assumption, not a measurement."""
HEALTH_TIMEOUT_S = 2.0
"""Maximum number of seconds that a health check waits for the model. An assumption, not a measurement."""


class Version(Protocol):
    """The interface of one version of the model.

    Its calls raise `ModelUnavailable`, `ModelFailed` or `TimeoutError`.
    """

    @property
    def model(self) -> ModelInfo: ...

    async def predict(self, rows: Rows, members: bool) -> Scores: ...

    async def describe(self) -> dict[str, Any]: ...


class VersionSource(Protocol):
    """The interface through which the front gets the current version."""

    @property
    def current(self) -> Version:
        """The version for new requests; a request keeps the version that was current when it arrived."""


class Front:
    """The routes of the HTTP interface.

    `token` is the digest of the bearer token (`auth.digest`), or None if none is required. `concurrency` is the number
    of batches that are sent to the model at the same time.
    """

    def __init__(
        self, backend: VersionSource, *, limits: Limits, token: bytes | None = None, concurrency: int = 1
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._token = token
        self._bodies = Storage(limits.held_bytes)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._batcher = Batcher(
            max_rows=limits.batch_rows,
            wait_s=limits.batch_wait_s,
            max_queued_rows=limits.queued_rows,
            concurrency=concurrency,
        )

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self.index, methods=["GET"]),
                Route("/healthz", self.health, methods=["GET"]),
                Route("/v1/metadata", self.metadata, methods=["GET"]),
                Route("/v1/predict", self.predict, methods=["POST"]),
            ],
            exception_handlers={
                HTTPException: self._refuse_route,
                RequestError: self._refuse,
                BodiesFull: self._full,
                QueueFull: self._busy,
                ModelUnavailable: self._busy,
                RowRefused: self._refuse_row,
                ModelFailed: self._failed,
                TimeoutError: self._too_slow,
                ClientDisconnect: self._gone,
            },
        )

    async def index(self, request: Request) -> Response:
        self._authorize(request)
        check_query(request.query_params.multi_items())
        model = self._backend.current.model
        return _json(200, {"job": model.job, "version": model.version, "routes": ROUTES})

    async def health(self, request: Request) -> Response:
        """Respond to health checks without a token, for load balancers."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._backend.current.describe()
        except (TimeoutError, ModelFailed) as error:
            raise ModelUnavailable("the model does not answer") from error
        return _json(200, {"status": "ok"})

    async def metadata(self, request: Request) -> Response:
        self._authorize(request)
        check_query(request.query_params.multi_items())
        async with asyncio.timeout(self._limits.request_timeout_s):
            return _json(200, await self._backend.current.describe())

    async def predict(self, request: Request) -> Response:
        self._authorize(request)
        version = self._backend.current
        headers, limits, model = request.headers, self._limits, version.model
        query = check_query(request.query_params.multi_items(), "members")
        members = read_flag(query.get("members"), "members")
        media = check_content_type(headers.get("content-type"), headers.get("content-encoding"), model=model)
        with self._bodies.body() as count:
            body = await read_body(request, max_bytes=limits.body_bytes, timeout_s=limits.body_timeout_s, count=count)
            return await self._answer(body, media, version, members)

    async def _answer(self, body: bytes, media: str, version: Version, members: bool) -> Response:
        loop, limits, model = asyncio.get_running_loop(), self._limits, version.model
        async with asyncio.timeout(limits.request_timeout_s):
            read = await loop.run_in_executor(
                self._readers, lambda: read_rows(body, media, model=model, max_rows=limits.rows)
            )
            scores = await self._batcher.submit(read.rows, call=version.predict, members=members)
            answer = await loop.run_in_executor(
                self._readers,
                lambda: predictions_json(scores, model, read.rows, ignored=read.ignored, members=members),
            )
        return Response(answer, media_type="application/json")

    def _authorize(self, request: Request) -> None:
        if not is_allowed(request.headers.get("authorization"), self._token):
            raise RequestError(
                401,
                "a bearer token is required",
                field="Authorization",
                expected="Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer", **CLOSE},
            )

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return _json(error.status, error.body(), error.headers)

    async def _refuse_row(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RowRefused)
        field = error.column if error.row is None else f"inputs[{error.row}].{error.column}"
        return _json(422, RequestError(422, error.problem, field=field).body())

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        refusal = RequestError(
            error.status_code,
            f"{request.method} {request.url.path[:200]}: {error.detail}",
            field="path",
            expected=", ".join(ROUTES),
        )
        return _json(error.status_code, refusal.body(), dict(error.headers or {}))

    async def _busy(self, request: Request, error: Exception) -> Response:
        refusal = RequestError(503, str(error), headers={"Retry-After": str(self._limits.retry_after_s)})
        return _json(503, refusal.body(), refusal.headers)

    async def _full(self, request: Request, error: Exception) -> Response:
        retry = {"Retry-After": str(self._limits.retry_after_s)}
        refusal = RequestError(503, str(error), field="body", headers={**retry, **CLOSE})
        return _json(503, refusal.body(), refusal.headers)

    async def _too_slow(self, request: Request, error: Exception) -> Response:
        return _json(504, RequestError(504, "the model did not answer in time").body())

    async def _failed(self, request: Request, error: Exception) -> Response:
        log.error("%s %s: %s", request.method, request.url.path, error)
        return _json(500, RequestError(500, "the model failed; its log has the reason").body())

    async def _gone(self, request: Request, error: Exception) -> Response:
        return Response(status_code=499)


def _json(status: int, value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value), status, headers=headers, media_type="application/json")
