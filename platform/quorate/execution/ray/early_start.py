"""A local Ray that starts while this process still imports, reads the data and plans."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from quorate.execution.ray.cluster import start_ray


class StartingRay:
    """Starts a local Ray in a thread; at the end of the block it is closed, used or not.

    Ray takes three seconds or more to start, mostly waiting for its own processes. Linux ends these processes together
    with the thread that started them (PR_SET_PDEATHSIG of prctl(2)), so the thread lives as long as the block.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-ray")
        self._started = self._thread.submit(start_ray, "local")

    def wait(self) -> None:
        """Wait until Ray has started; raises `ClusterError` if it has not."""
        self._started.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started.exception() is None:
            import ray

            ray.shutdown()
        self._thread.shutdown()
