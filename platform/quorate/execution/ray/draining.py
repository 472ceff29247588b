"""Which nodes of the cluster are about to leave: a preemption, or an autoscaler that takes a node away."""

from __future__ import annotations

import time
from typing import Any

import ray

_REFRESH_SECONDS = 1.0


class Draining:
    """The draining nodes, read at most once a second. Ray Train learns of them; plain actors do not."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._read_at = -_REFRESH_SECONDS

    def nodes(self) -> frozenset[str]:
        """Their ids. Ray has no public function for it (seen with Ray 2.60)."""
        if time.monotonic() - self._read_at > _REFRESH_SECONDS:
            state: Any = ray._private.state.state
            self._names = frozenset(state.get_draining_nodes())
            self._read_at = time.monotonic()
        return self._names
