"""Decode pictures in tasks on Ray, and give the decoded pictures to the other machines of the cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quorate.data.cache import CacheError, FileCache, cache_folder, node_cache
from quorate.data.dataset import Pixels
from quorate.data.decoding import Corrupt, DecodingBatch, decode_batch, keep_batch, read_files
from quorate.data.shards import ShardError, ShardSource
from quorate.errors import UserError
from quorate.execution.ray.nodes import Nodes
from quorate.plan.tasks import Resources

_PER_CPU = 2
"""Batches that are on their way per CPU of the cluster, so that a task waits when another ends; the driver reads their
files before. An assumption, not a measurement."""
_SHARE = 0.5
"""Maximum fraction of the driver's object store for the files on their way: the decoded pictures come back to it. An
assumption, not a measurement."""


class RayDecoder:
    """Decodes batches in tasks of the cluster; `own` if it is a local Ray, whose workers see the driver's files."""

    def __init__(self, *, own: bool) -> None:
        self._own, self._nodes = own, Nodes()
        self._source: RayShardSource | None = None

    def decode(self, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        """Decode batches into the cache of the driver's machine, and into that of the machine of each task."""
        here, found = _this_cache(), [Corrupt() for _ in batches]
        most = _PER_CPU * max(2, int(ray.cluster_resources().get("CPU", 0)))
        waiting, running, most_bytes = deque(range(len(batches))), dict[Any, tuple[int, int]](), _room_for_files()
        while waiting or running:
            while waiting and len(running) < most and sum(size for _, size in running.values()) < most_bytes:
                number = waiting.popleft()
                contents = None if self._own else read_files(batches[number])
                size = sum(map(len, contents or ()))
                task = _decode.options(memory=self._reserved(batches[number]))
                running[task.remote(batches[number], contents, here)] = number, size
                del contents
            done, _ = ray.wait(list(running), num_returns=1, timeout=0.2)
            for task in done:
                number, _ = running.pop(task)
                pixels, found[number] = _result(task, batches[number])
                if pixels is not None:
                    keep_batch(batches[number], pixels, found[number])
        return found

    def _reserved(self, batch: DecodingBatch) -> int:
        """The memory that a batch reserves on its node; at most that of the largest node."""
        return min(batch.memory, self._nodes.most_memory(Resources(1)))

    def share(self, batches: Sequence[DecodingBatch]) -> ShardSource | None:
        """The actor on the driver's machine that reads its cache; a local Ray needs none."""
        if self._own:
            return None
        if self._source is None:
            self._source = RayShardSource(_serve(node_cache()))
        return self._source


class RayShardSource:
    """Shards that an actor on the driver's machine reads from the cache there."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def fetch(self, name: str) -> memoryview:
        try:
            content: NDArray[np.uint8] = ray.get(self._actor.read.remote(name))
        except RayTaskError as error:
            raise ShardError(str(error.cause)) from None
        except RayError as error:
            raise ShardError(
                f"the decoded pictures {name} cannot be fetched from the driver's machine: {error}"
            ) from None
        return content.data


@ray.remote(num_cpus=1, max_retries=2, scheduling_strategy="SPREAD")  # type: ignore[untyped-decorator]
def _decode(batch: DecodingBatch, contents: list[bytes] | None, driver: _Cache) -> tuple[Pixels | None, Corrupt]:
    """Decode a batch into the cache of this machine; return the pixels too unless it is the driver's cache."""
    pixels, corrupt = decode_batch(batch, contents or read_files(batch))
    try:
        keep_batch(batch, pixels, corrupt)
    except CacheError:  # the driver's cache is enough
        return pixels, corrupt
    return None if _this_cache() == driver else pixels, corrupt


_Cache = tuple[str, str | None]


def _this_cache() -> _Cache:
    """The node, and the folder of its cache if there is one."""
    try:
        folder = str(cache_folder())
    except CacheError:
        folder = None
    return ray.get_runtime_context().get_node_id(), folder


def _room_for_files() -> float:
    """The number of bytes of files that can be on their way in the object store of this machine."""
    here = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    return _SHARE * float(resources["object_store_memory"])


def _result(task: Any, batch: DecodingBatch) -> tuple[Pixels | None, Corrupt]:
    try:
        result: tuple[Pixels | None, Corrupt] = ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, UserError | OSError):
            raise error.cause from None
        raise
    except RayError as error:
        first, last = batch.paths[0], batch.paths[-1]
        raise UserError(
            f"the pictures from {first} to {last} could not be decoded: their worker died three times "
            f"({str(error).splitlines()[0]}); look for a huge or damaged picture among these {len(batch.paths)}"
        ) from None
    return result


@ray.remote(num_cpus=0)
class _ShardServer:
    """Reads the cache of the driver's machine for the others."""

    def __init__(self, cache: FileCache) -> None:
        self._cache = cache

    def read(self, name: str) -> NDArray[np.uint8]:
        file = self._cache.open(name)
        if file is None:
            raise ShardError(f"the decoded pictures {name} are no longer in the cache of the driver's machine")
        with file:
            return np.fromfile(file, np.uint8)


def _serve(cache: FileCache) -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    server: Any = _ShardServer
    return server.options(scheduling_strategy=here).remote(cache)
