"""Choose where a job runs: this process, a local Ray, or a cluster; opened when the first task needs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from quorate.execution.base import Executor
from quorate.execution.cluster import start_ray
from quorate.execution.labels import is_match, labels_here
from quorate.execution.node_waits import NoNodeError
from quorate.execution.stream import this_hardware
from quorate.plan.tasks import Resources
from quorate.training.context import Hardware


class Workplace:
    """The executor of a job; a local Ray is started only when it is needed.

    `opened` is called with the executor when it has been opened, and with None when it is closed. The workers of a
    local Ray have a low priority on the machine, unless they are `urgent`. A cluster that can grow has `wait_for_nodes`
    seconds for a new node; `say` shows a message meanwhile.
    """

    def __init__(
        self,
        name: Literal["ray", "local"],
        address: str | None,
        opened: Callable[[Executor | None], None],
        *,
        urgent: bool = False,
        wait_for_nodes: float = 600,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._wait_for_nodes, self._say = wait_for_nodes, say
        self._urgent = urgent
        self._name, self._opened = name, opened
        self._address = (address or os.environ.get("RAY_ADDRESS")) if name == "ray" else None
        self._remote = self._address not in (None, "local")
        self._executor: Executor | None = None

    def hardware(self) -> Hardware:
        """The hardware of the workers; raises `ClusterError` if a cluster does not answer."""
        return self.executor().hardware() if self._remote else this_hardware()

    def require(self, resources: Resources) -> None:
        """Raise `NoNodeError` if no unit with these resources can run; wait for a node if the cluster can grow."""
        if self._remote:
            executor = self.executor()
            from quorate.execution.ray import RayExecutor

            assert isinstance(executor, RayExecutor)
            executor.wait_for(resources)
        elif not self.slots(resources):
            raise NoNodeError(f"this machine does not have {resources}; lower cpus, gpus or memory")

    def slots(self, resources: Resources) -> int:
        """The number of units with these resources that can run at the same time; 0 if not even one fits."""
        if self._remote:
            return self.executor().slots(resources)
        here = self.hardware()
        if not is_match(labels_here(), resources.labels):
            return 0
        rooms = [here.cores // resources.cpus, here.gpus // resources.gpus if resources.gpus else here.cores]
        return int(min(rooms))

    @property
    def starts_ray(self) -> bool:
        """Whether the executor is a local Ray that has not been started."""
        return self._name == "ray" and not self._remote and self._executor is None

    def stay_in_this_process(self) -> None:
        """Run without Ray; the results are the same."""
        assert self._executor is None, "too late"
        self._name = "local"

    def executor(self) -> Executor:
        """The executor; the first call opens it."""
        if self._executor is None:
            if self._name == "local":
                from quorate.execution.local import LocalExecutor

                self._executor = LocalExecutor()
            else:
                own = start_ray(self._address, urgent=self._urgent)
                from quorate.execution.ray import RayExecutor

                self._executor = RayExecutor(own=own, wait_for_nodes=self._wait_for_nodes, say=self._say)
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
