"""Run members on a Ray that ends workers when this machine uses more memory than now; print what became of them.

A process of its own, because a process has one Ray.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ray
from tests.execution.jobs import plan_of, run

from quorate.execution.base import Policy
from quorate.execution.events import ENDS, Failed, Started
from quorate.execution.ray import RayExecutor

ROOM = 2 << 30
"""Bytes that the machine may use in addition to what it uses now."""


def main() -> None:
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (1024 * int(meminfo[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 << 20,
        _system_config={"memory_monitor_refresh_ms": 100, "memory_usage_threshold": (total - free + ROOM) / total},
    )
    plan = plan_of({"swell": {"kind": "odd", "what": "swell", "price": 10.0}, "good": {"kind": "odd", "seconds": 1.0}})
    plan = replace(plan, tasks=tuple(task for task in plan.tasks if task.member == "good" or task.fold == 0))
    policy = Policy(lost_workers=50)  # Ray also ends workers for the memory that other processes of this machine take
    for event in run(RayExecutor(own=True), plan, policy=policy):
        if isinstance(event, Started | ENDS):
            row = {"member": event.task.member, "fold": event.task.fold, "event": type(event).__name__}
            if isinstance(event, Failed):
                row |= {"status": event.status, "final": event.final, "message": event.message}
            print("EVENT", json.dumps(row), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
