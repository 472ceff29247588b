"""Choose where a job runs: this process, a local Ray, or a cluster; opened when the first task needs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Literal, Self

from quorate.data.decoding import Corrupt, DecodingBatch, ThreadDecoder
from quorate.data.shards import ShardSource
from quorate.execution.base import Executor
from quorate.execution.hardware import this_node
from quorate.execution.ray.cluster import prepare_import, start_ray
from quorate.execution.ray.early_start import StartingRay
from quorate.plan.groups import Node, NodeGroup, group_nodes
from quorate.plan.tasks import Resources


class Workplace:
    """The executor of a job; a local Ray is started only when it is needed.

    `opened` is called with the executor when it has been opened, and with None when it is closed. The workers of a
    local Ray have a low priority on the machine, unless the work is `urgent`; then no Ray is started just to decode
    pictures, either. A cluster that can grow has `wait_for_nodes` seconds for a new node; `say` shows a message
    meanwhile. `starting` is a local Ray that is already being started.
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
        starting: StartingRay | None = None,
    ) -> None:
        self._starting = starting
        self._wait_for_nodes, self._say = wait_for_nodes, say
        self._urgent = urgent
        self._name, self._opened = name, opened
        self._address = (address or os.environ.get("RAY_ADDRESS")) if name == "ray" else None
        self._remote = self._address not in (None, "local")
        self._executor: Executor | None = None

    def groups_for(self, resources: Resources, *, present: bool = False) -> Sequence[NodeGroup]:
        """The groups of nodes that can hold a unit with these resources, as `plan.groups.Places` says; raises
        `ClusterError` if a cluster does not answer."""
        if self._remote:
            return self.executor().groups_for(resources, present=present)
        fits = self._here.holds(resources) and (not resources.shared or self.slots(resources) > 0)
        return group_nodes([self._here] if fits else [])

    def slots(self, resources: Resources) -> int:
        """The number of units with these resources that can run at the same time; 0 if not even one fits."""
        if self._remote:
            return self.executor().slots(resources)
        here = self._here
        least = resources.workers[0]
        if not here.holds(resources) or (self._name == "local" and least > 1):
            return 0
        there = ((here.cpus, resources.cpus), (here.gpus, resources.gpus), (here.hardware.room, resources.memory))
        return int(min((amount // wanted for amount, wanted in there if wanted), default=least) // least)

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        """Decode batches of pictures where the job runs; urgent ones in this process, before Ray has been started."""
        if self._urgent and self.starts_ray:
            return ThreadDecoder().decode(batches)
        return self.executor().decode(batches)

    def share(self, batches: Sequence[DecodingBatch]) -> ShardSource | None:
        """Where the workers get decoded pictures from; None if they share the cache of this machine."""
        return self.executor().share(batches) if self._remote else None

    @property
    def address(self) -> str:
        """The address of the cluster; `local` for this machine."""
        return self._address if self._address is not None and self._remote else "local"

    @property
    def uses_ray(self) -> bool:
        """Whether tasks run on Ray, of this machine or of a cluster."""
        return self._name == "ray"

    @property
    def is_remote(self) -> bool:
        """Whether the job runs on a cluster, whose machines have caches of their own."""
        return self._remote

    @cached_property
    def _here(self) -> Node:
        return this_node()

    @property
    def starts_ray(self) -> bool:
        """Whether the executor is a local Ray that has not been started."""
        return self._name == "ray" and not self._remote and self._executor is None

    def prepare_import_of_ray(self) -> None:
        """Call it before Ray is imported for other purposes than this workplace."""
        prepare_import(self.address)

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
                own = self._started()
                from quorate.execution.ray.executor import RayExecutor

                self._executor = RayExecutor(own=own, wait_for_nodes=self._wait_for_nodes, say=self._say)
            self._opened(self._executor)
        return self._executor

    def _started(self) -> bool:
        """Start Ray or connect to it; whether it is a local Ray that ends with this process."""
        if self._starting is None:
            return start_ray(self._address, urgent=self._urgent)
        self._starting.wait()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._opened(None)
            self._executor.close()
