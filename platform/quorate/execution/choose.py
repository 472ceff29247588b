"""The executor that a job asks for."""

from __future__ import annotations

from typing import Literal

from quorate.execution.base import Executor
from quorate.execution.session import start_ray


def open_executor(name: Literal["ray", "local"], *, address: str | None, workers: int | None) -> Executor:
    """A running executor; Ray is started or connected to. Raises `ClusterError`."""
    if name == "local":
        from quorate.execution.local import LocalExecutor

        return LocalExecutor()
    own = start_ray(address, cpus=workers)
    from quorate.execution.ray import RayExecutor

    return RayExecutor(own=own)
