"""Write results to the store in the order in which they arrive, in a thread of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Self

from quorate.execution.content import HeldBytes, WrittenBlob
from quorate.execution.events import Checkpointed, held_in
from quorate.execution.interrupt import StopRequest
from quorate.job.outages import StoreOutages
from quorate.plan.tasks import FitTask
from quorate.results.results import Results

MOST = HeldBytes(memory=256 << 20, disk=4 << 30)
"""Bytes of the results that wait to be written; a larger one waits alone. An assumption: enough for the results of
small members during an outage of minutes, and little for a driver and its disk."""

_LOOK_SECONDS = 0.2


class WaitingStates:
    """The newest checkpoints that are not in the store yet, by the keys of their states; for two threads."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._newest: dict[str, Checkpointed] = {}
        self._queued: set[str] = set()
        """The keys of those whose write has not begun."""
        self._changing = threading.Lock()

    def newest(self, task: FitTask) -> Checkpointed | None:
        """The checkpoint that the store will have; None if the store has it."""
        with self._changing:
            return self._newest.get(task.state_key)

    def read(self, task: FitTask) -> bytes | None:
        """The newest state of a task, also if the store does not have it yet; None if there is none."""
        taken = self.newest(task)
        state = self._results.state(taken) if taken is not None else None
        return state if state is not None else self._results.checkpoint(task)

    def replaced_by(self, taken: Checkpointed) -> Checkpointed | None:
        """Replace the checkpoint of the same task whose write has not begun, and return it; None if there is none."""
        key = taken.task.state_key
        with self._changing:
            if key not in self._queued:
                return None
            older, self._newest[key] = self._newest[key], taken
            return older

    def add(self, taken: Checkpointed) -> None:
        with self._changing:
            self._newest[taken.task.state_key] = taken
            self._queued.add(taken.task.state_key)

    def begin(self, task: FitTask) -> Checkpointed:
        """The newest checkpoint of a task, which is written now; until `end`, `newest` gives it."""
        with self._changing:
            self._queued.remove(task.state_key)
            return self._newest[task.state_key]

    def write(self, taken: Checkpointed) -> None:
        self._results.keep_checkpoint(taken)

    def end(self, taken: Checkpointed) -> None:
        with self._changing:
            if self._newest[taken.task.state_key] is taken:
                del self._newest[taken.task.state_key]

    def discard(self, taken: Checkpointed) -> None:
        """Remove the blob of a checkpoint that is not written."""
        self._results.discard(taken)


class CommitQueue:
    """A thread that writes, so that a store that is slow or away does not hold up the training.

    What is put first is written first. An error of the thread ends the session of the job, and is raised by the next
    call, or at the end of the context. A context manager: at its end, everything has been written.
    """

    def __init__(self, outages: StoreOutages, stop: StopRequest, states: WaitingStates) -> None:
        self._outages, self._stop, self._states = outages, stop, states
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._waiting: deque[tuple[HeldBytes, Future[None]]] = deque()
        """The size of each result that is not written yet, with the future of its write."""
        self._held = HeldBytes()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.drain()
        finally:
            self._thread.shutdown()

    def drain(self) -> None:
        """Wait until everything has been written."""
        while self._waiting:
            self._take_written()

    def put(self, size: HeldBytes, write: Callable[[], None], then: Callable[[], None]) -> None:
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
        size, task = held_in(taken), taken.task
        if (dropped := self._states.replaced_by(taken)) is None:
            if self._has_room(size) or taken.last:
                self._states.add(taken)
                self._add(size, lambda: self._write_state(task))
                return
            dropped = taken
        if isinstance(dropped.content, WrittenBlob):
            self._add(HeldBytes(), partial(self._outages.call, partial(self._states.discard, dropped)))

    def _write_state(self, task: FitTask) -> None:
        taken = self._states.begin(task)
        self._outages.call(lambda: self._states.write(taken))
        self._states.end(taken)

    def _add(self, size: HeldBytes, work: Callable[[], None]) -> None:
        self._waiting.append((size, self._thread.submit(self._run, work)))
        self._held += size

    def _run(self, work: Callable[[], None]) -> None:
        if self._failed:  # what comes after a result that could not be written is not written either
            return
        try:
            work()
        except BaseException:
            self._failed = True
            self._stop.halt()
            raise

    def _has_room(self, size: HeldBytes) -> bool:
        """Whether there is room for a result; raises the error of a write that has failed."""
        while self._waiting and self._waiting[0][1].done():
            self._take_written()
        fits = _fits(self._held.memory, size.memory, MOST.memory) and _fits(self._held.disk, size.disk, MOST.disk)
        return fits or self._stop.requested

    def _take_written(self) -> None:
        """Wait for the first write, and raise its error."""
        written, future = self._waiting.popleft()
        self._held -= written
        future.result()


def _fits(held: int, size: int, most: int) -> bool:
    return not held or not size or held + size <= most
