"""Run members on a Ray in a container with little memory, and print what became of them.

A process of its own, because a process has one Ray. It needs a mount namespace of its own (`unshare --mount`): Ray
reads the memory of its container there, and other processes of the machine must not count.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import ray
from tests.execution.jobs import plan_of, run

from quorate.execution.events import ENDS, Failed, Started
from quorate.execution.ray.executor import RayExecutor

LIMIT = 5 << 29
"""Bytes of the container that this process pretends to run in: its Ray counts nothing else of the machine."""
CGROUP = Path("/sys/fs/cgroup")


def main() -> None:
    write_usage()
    threading.Thread(target=lambda: [write_usage() for _ in iter(lambda: time.sleep(0.2), 0)], daemon=True).start()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100 << 20,
        _system_config={"memory_monitor_refresh_ms": 100, "memory_usage_threshold": 0.9},
    )
    plan = plan_of({"swell": {"kind": "odd", "what": "swell", "price": 10.0}, "good": {"kind": "odd", "seconds": 1.0}})
    plan = replace(plan, tasks=tuple(task for task in plan.tasks if task.member == "good" or task.fold == 0))
    for event in run(RayExecutor(own=True), plan):
        if isinstance(event, Started | ENDS):
            row = {"member": event.task.member, "fold": event.task.fold, "event": type(event).__name__}
            if isinstance(event, Failed):
                row |= {"status": event.status, "final": event.final, "message": event.message}
            print("EVENT", json.dumps(row), flush=True)
    ray.shutdown()


def write_usage() -> None:
    """Write the memory of this process and of its descendants as that of a container (cgroup v2)."""
    used = sum(private(one) for one in [psutil.Process(), *psutil.Process().children(recursive=True)])
    for name, content in {"memory.max": LIMIT, "memory.current": used}.items():
        (CGROUP / f"{name}.new").write_text(f"{content}\n")
        (CGROUP / f"{name}.new").rename(CGROUP / name)
    (CGROUP / "memory.stat").write_text("anon 0\ninactive_file 0\nactive_file 0\n")


def private(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared)


if __name__ == "__main__":
    main()
