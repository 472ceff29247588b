"""Write results to the store in the order in which they arrive, in a thread of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

from quorate.execution.content import size_of
from quorate.execution.events import Checkpointed
from quorate.execution.interrupt import StopRequest
from quorate.job.outages import StoreOutages
from quorate.plan.tasks import FitTask

MOST_BYTES = 256 << 20
"""Bytes of the results that wait to be written; a larger one waits alone. An assumption: enough for the results of
small members during an outage of minutes, and little for a driver."""

_LOOK_SECONDS = 0.2


class WaitingStates:
    """The newest checkpoints that are not in the store yet, by the result keys of their tasks; for two threads."""

    def __init__(self) -> None:
        self._newest: dict[str, Checkpointed] = {}
        self._queued: set[str] = set()
        """The keys of those whose write has not begun."""
        self._changing = threading.Lock()

    def newest(self, task: FitTask) -> Checkpointed | None:
        """The checkpoint that the store will have; None if the store has it."""
        with self._changing:
            return self._newest.get(task.result_key)

    def replaces(self, taken: Checkpointed) -> bool:
        """Replace the checkpoint of the same task whose write has not begun; False if there is none."""
        key = taken.task.result_key
        with self._changing:
            if key not in self._queued:
                return False
            self._newest[key] = taken
            return True

    def add(self, taken: Checkpointed) -> None:
        with self._changing:
            self._newest[taken.task.result_key] = taken
            self._queued.add(taken.task.result_key)

    def write(self, task: FitTask, keep: Callable[[Checkpointed], None]) -> None:
        """Write the newest checkpoint of a task; until `keep` returns, `newest` gives it."""
        key = task.result_key
        with self._changing:
            self._queued.remove(key)
            taken = self._newest[key]
        keep(taken)
        with self._changing:
            if self._newest[key] is taken:
                del self._newest[key]


class CommitQueue:
    """A thread that writes, so that a store that is slow or away does not hold up the training.

    What is put first is written first. An error of the thread ends the session of the job, and is raised by the next
    call, or at the end of the context. A context manager: at its end, everything has been written.
    """

    def __init__(
        self,
        outages: StoreOutages,
        stop: StopRequest,
        keep_state: Callable[[Checkpointed], None],
        states: WaitingStates,
    ) -> None:
        self._outages, self._stop, self._keep_state, self._states = outages, stop, keep_state, states
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        """The size of each result that is not written yet, with the future of its write."""
        self._bytes = 0
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft()[1].result()
        finally:
            self._thread.shutdown()

    def put(self, size: int, write: Callable[[], None], then: Callable[[], None]) -> None:
        """Write a result of `size` bytes, and call `then` after that; waits while there is no room for it.

        `write` is repeated after an outage of the store.
        """
        while not self._has_room(size):
            wait([self._waiting[0][1]], timeout=_LOOK_SECONDS)

        def work() -> None:
            self._outages.call(write)
            then()

        self._add(size, work)

    def put_state(self, taken: Checkpointed) -> None:
        """Write a checkpoint; it replaces one of the same task that waits.

        It is dropped if there is no room for it, unless it is the last one of a task that stops.
        """
        size = size_of(taken.content)
        if self._states.replaces(taken):
            return
        if self._has_room(size) or taken.last:
            self._states.add(taken)
            self._add(size, lambda: self._states.write(taken.task, self._write_state))

    def _write_state(self, taken: Checkpointed) -> None:
        self._outages.call(lambda: self._keep_state(taken))

    def _add(self, size: int, work: Callable[[], None]) -> None:
        self._waiting.append((size, self._thread.submit(self._run, work)))
        self._bytes += size

    def _run(self, work: Callable[[], None]) -> None:
        if self._failed:  # what comes after a result that could not be written is not written either
            return
        try:
            work()
        except BaseException:
            self._failed = True
            self._stop.halt()
            raise

    def _has_room(self, size: int) -> bool:
        """Whether there is room for `size` bytes; raises the error of a write that has failed."""
        while self._waiting and self._waiting[0][1].done():
            written, future = self._waiting.popleft()
            self._bytes -= written
            future.result()
        return not self._bytes or self._bytes + size <= MOST_BYTES or self._stop.requested
