"""Batch the rows of many requests into one call of the model."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quorate.serving.errors import ModelFailed, QuorumMissing
from quorate.serving.model import Scores

Rows = NDArray[np.uint8] | NDArray[np.object_]
"""Images (n, H, W, C), or values of a table (n, columns)."""
Call = Callable[[Rows, bool], Awaitable[Scores]]


class QueueFull(RuntimeError):
    """The queue has no room for the rows of a request."""


@dataclass(frozen=True, eq=False)
class QueuedRequest:
    """A request: its rows, the call of its model, whether it includes the members' probabilities, its arrival time, and
    its result."""

    rows: Rows
    call: Call
    members: bool
    since: float
    scores: asyncio.Future[Scores]


class Batcher:
    """Collect requests, in the order of their arrival, into batches of at most `max_rows` rows.

    A batch is sent when one of `concurrency` calls is free, and either the batch is full or its first request has
    waited for `wait_s`. While all calls are busy, requests accumulate. All requests of a batch are for the same model.
    If a call fails because of its rows, the batch is split in halves and repeated, until only one request fails. A
    request whose client has disconnected is left out of the next batch.
    """

    def __init__(self, *, max_rows: int, wait_s: float, max_queued_rows: int, concurrency: int = 1) -> None:
        self._max_rows = max_rows
        self._wait_s = wait_s
        self._max_queued_rows = max_queued_rows
        self._concurrency = concurrency
        self._queue: deque[QueuedRequest] = deque()
        self._queued_rows = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._full = asyncio.Event()

    async def submit(self, rows: Rows, *, call: Call, members: bool = False) -> Scores:
        """Return the scores of `rows` by the model of `call`; raises `QueueFull`, or the error of the call."""
        if self._queue and self._queued_rows + len(rows) > self._max_queued_rows:
            raise QueueFull(f"{self._queued_rows} rows are waiting, and the maximum is {self._max_queued_rows}")
        loop = asyncio.get_running_loop()
        waiting = QueuedRequest(rows, call, members, loop.time(), loop.create_future())
        self._queue.append(waiting)
        self._queued_rows += len(rows)
        if self._queued_rows >= self._max_rows:
            self._full.set()
        if len(self._workers) < self._concurrency:
            # in a context of its own, so that a batch is not cancelled with the request that started it
            worker = loop.create_task(self._work(), context=contextvars.Context())
            self._workers.add(worker)
        return await waiting.scores

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._until_due()
                batch = self._take()
                if batch:
                    await self._answer(batch)
        finally:
            # here and not in a callback, because a request that arrives before the callback would find no worker
            self._workers = {worker for worker in self._workers if worker is not asyncio.current_task()}

    async def _until_due(self) -> None:
        due = self._queue[0].since + self._wait_s - asyncio.get_running_loop().time()
        if due > 0 and self._queued_rows < self._max_rows:
            self._full.clear()
            try:
                await asyncio.wait_for(self._full.wait(), due)
            except TimeoutError:
                return

    def _take(self) -> list[QueuedRequest]:
        batch: list[QueuedRequest] = []
        count = 0
        while self._queue and (
            not batch or (self._queue[0].call == batch[0].call and count + len(self._queue[0].rows) <= self._max_rows)
        ):
            waiting = self._queue.popleft()
            self._queued_rows -= len(waiting.rows)
            if not waiting.scores.done():
                batch.append(waiting)
                count += len(waiting.rows)
        return batch

    async def _answer(self, batch: list[QueuedRequest]) -> None:
        rows: Rows = batch[0].rows if len(batch) == 1 else np.concatenate([waiting.rows for waiting in batch])
        try:
            scores = await batch[0].call(rows, any(waiting.members for waiting in batch))
        except (ModelFailed, QuorumMissing) as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            half = len(batch) // 2
            for part in (batch[:half], batch[half:]):
                if left := [waiting for waiting in part if not waiting.scores.done()]:
                    await self._answer(left)
            return
        except Exception as error:  # noqa: BLE001 - passed to all requests of this batch
            _fail(batch, error)
            return
        start = 0
        for waiting in batch:
            stop = start + len(waiting.rows)
            if not waiting.scores.done():
                waiting.scores.set_result(scores.rows(start, stop, members=waiting.members))
            start = stop


def _fail(batch: list[QueuedRequest], error: Exception) -> None:
    for waiting in batch:
        if not waiting.scores.done():
            waiting.scores.set_exception(error)
