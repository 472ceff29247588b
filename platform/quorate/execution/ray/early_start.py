"""A local Ray that starts while this process still imports, reads the data and plans."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from quorate.execution.ray.cluster import start_ray


class StartingRay:
    """Starts a local Ray in a thread; at the end of the block it is closed, used or not.

    Ray takes three seconds or more to start, mostly waiting for its own processes. Linux ends these processes together
    with the thread that started them (PR_SET_PDEATHSIG of prctl(2)), so that the thread lives as long as the block.
    """

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._started, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-ray", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            start_ray("local")
        except Exception as error:
            self._error = error  # `wait` raises it in the thread that needs Ray
        finally:
            self._started.set()
        self._over.wait()

    def wait(self) -> None:
        """Wait until Ray has started; raises `ClusterError` if it has not."""
        self._started.wait()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.wait()
        if self._error is None:
            import ray

            ray.shutdown()
        self._over.set()
        self._thread.join()
