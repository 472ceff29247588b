"""The worker: a remote actor that runs tasks and can be asked to stop, checkpoint or end a task meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import ray

from quorate.execution.assignment import Assignment, Control
from quorate.execution.content import Destination, inline
from quorate.execution.events import Event
from quorate.execution.ray.pieces import Piece, in_pieces
from quorate.execution.stream import stream
from quorate.plan.tasks import DataAddition, JobData


@ray.remote(concurrency_groups={"control": 1})
class Worker:
    """Runs tasks one after another; the methods of the group `control` work while a task runs.

    Its name in events has the address of its node (`by_address`), or the name of its machine.
    """

    def __init__(self, data: JobData, destination: Destination | None, by_address: bool) -> None:
        self._data = data
        self._control = Control(f"{ray.util.get_node_ip_address()}:{os.getpid()}") if by_address else Control()
        self._write = destination.connect() if destination is not None else inline

    def place(self, addition: DataAddition) -> None:
        self._data = addition.added_to(self._data)

    def work(self, assignments: list[Assignment]) -> Iterator[Event | Piece]:
        log = ""
        with contextlib.suppress(OSError):
            log = str(Path("/proc/self/fd/2").readlink())
        logged = [replace(assignment, log=log) for assignment in assignments]
        yield from in_pieces(stream(logged, self._data, self._control, write=self._write))

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def whereabouts(self) -> tuple[str, int]:
        """The id of its node, and its process there."""
        return ray.get_runtime_context().get_node_id(), os.getpid()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        self._control.stop.set()

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def checkpoint(self) -> None:
        self._control.checkpoints += 1

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def ask(self, number: int, what: Literal["finish", "cancel"]) -> None:
        self._control.asked[number] = what

    @ray.method(concurrency_group="control")  # type: ignore[untyped-decorator]
    def end_in(self, seconds: float) -> None:
        self._control.end_in(seconds)
