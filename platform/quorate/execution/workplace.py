"""Where a job runs: this process, a Ray of its own, or a cluster; opened when there is something to run."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from quorate.execution.base import Executor
from quorate.execution.session import start_ray
from quorate.execution.stream import this_hardware
from quorate.plan.tasks import Resources
from quorate.training.context import Hardware


class Workplace:
    """The executor of a job; a local Ray is started only once it is needed.

    `opened` is called with the executor when it is there, with None when it has been closed. The workers of a Ray of
    our own give way to other processes of the machine, unless they are `urgent`.
    """

    def __init__(
        self,
        name: Literal["ray", "local"],
        address: str | None,
        opened: Callable[[Executor | None], None],
        *,
        urgent: bool = False,
    ) -> None:
        self._urgent = urgent
        self._name, self._opened = name, opened
        self._address = (address or os.environ.get("RAY_ADDRESS")) if name == "ray" else None
        self._remote = self._address not in (None, "local")
        self._executor: Executor | None = None

    def hardware(self) -> Hardware:
        """What the workers run on; raises `ClusterError` where a cluster does not answer."""
        return self.executor().hardware() if self._remote else this_hardware()

    def slots(self, resources: Resources) -> int:
        """How many units of that size run at the same time; 0 where one would never fit."""
        if self._remote:
            return self.executor().slots(resources)
        here = self.hardware()
        rooms = [here.cores // resources.cpus, here.gpus // resources.gpus if resources.gpus else here.cores]
        return int(min(rooms))

    @property
    def starts_ray(self) -> bool:
        """Whether the executor would be a Ray of this machine that has to be started first."""
        return self._name == "ray" and not self._remote and self._executor is None

    def stay_in_this_process(self) -> None:
        """Use no Ray, which gives the same results."""
        assert self._executor is None, "too late"
        self._name = "local"

    def executor(self) -> Executor:
        """The executor, opened at the first call."""
        if self._executor is None:
            if self._name == "local":
                from quorate.execution.local import LocalExecutor

                self._executor = LocalExecutor()
            else:
                own = start_ray(self._address, urgent=self._urgent)
                from quorate.execution.ray import RayExecutor

                self._executor = RayExecutor(own=own)
            self._opened(self._executor)
        return self._executor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._opened(None)
            self._executor.close()
