"""What a session costs per task: `python -m tests.benchmarks.sessions`.

The first part runs fit tasks that do nothing on a cluster of several raylets on this machine, and shows the time per
task and the memory of the driver. The second part shows the time per event of the queue alone, by its length.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
from tests.benchmarks import idle_member  # noqa: F401  (registers a kind)
from tests.tiny import plan_of

from quorate.execution.base import Policy
from quorate.execution.budget import Agenda, Budget
from quorate.execution.estimates import Estimates
from quorate.execution.events import Failed, Fitted
from quorate.execution.queue import InRounds, LongestFirst, UnitQueue, needs
from quorate.plan.tasks import Plan, Resources, Unit

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raylets", type=int, default=10)
    parser.add_argument("--slots", type=int, default=10, help="CPUs that each raylet offers")
    parser.add_argument("--workers", type=int, default=100, help="workers at the same time; each takes 0.4 GB")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=0, help="more tasks that wait in the queue and are cancelled")
    parser.add_argument("--queue-only", action="store_true")
    chosen = parser.parse_args()
    if not chosen.queue_only:
        with cluster(chosen.raylets, chosen.slots):
            workers = min(chosen.workers, chosen.raylets * chosen.slots)
            measure_session(chosen.tasks, workers=workers, waiting=chosen.waiting)
    measure_queues()


def measure_session(tasks: int, *, workers: int, waiting: int) -> None:
    """Run `tasks` fit tasks while `waiting` others stay in the queue."""
    from quorate.execution.ray.executor import RayExecutor

    plan = plan_of("{idle: {kind: idle}}")
    driver, ended, memory, begun = psutil.Process(), 0, {}, 0.0
    with RayExecutor(own=False).open(plan.context, Policy(workers=workers)) as session:
        session.submit(units(plan, workers, name="warm"))
        assert sum(isinstance(event, Fitted) for event in session.events()) == workers
        session.submit(units(plan, waiting, name="later", cost=0.0))
        session.submit(units(plan, tasks, name="task"))
        later = [unit.tasks[0] for unit in units(plan, waiting, name="later")]
        begun, used = time.perf_counter(), sum(driver.cpu_times()[:2])
        for event in session.events():
            assert not isinstance(event, Failed), event.message
            if isinstance(event, Fitted) and event.task.key.startswith("task"):
                ended += 1
                if ended in (1000, tasks):
                    memory[ended] = driver.memory_info().rss / 1e6
            if ended == tasks:
                seconds, used = time.perf_counter() - begun, sum(driver.cpu_times()[:2]) - used
                for task in later:
                    session.cancel(task)
                later, ended = [], ended + 1
    print(f"{tasks:,} tasks on {workers} workers, {waiting:,} others waiting: {1e3 * seconds / tasks:.2f} ms per task")
    print(f"  CPU per task: {1e3 * used / tasks:.2f} ms of the driver")
    print(f"  memory of the driver: {memory[min(1000, tasks)]:.0f} MB after 1,000, {memory[tasks]:.0f} MB at the end")


def measure_queues() -> None:
    """Time taking a unit and adding another one, for queues of several lengths."""
    kinds = [Resources(), Resources(cpus=2), Resources(cpus=1, gpus=1), Resources(memory=1 << 30)]
    for name in ("longest first", "in rounds"):
        for length in (1_000, 10_000, 50_000):
            agenda = Agenda(Budget(1e9, time.monotonic()), Estimates(), lambda task: 0.01)
            queue = LongestFirst() if name == "longest first" else InRounds(agenda)
            print(f"{name}, {length:6,} waiting: {1e6 * seconds_per_event(queue, length, kinds):6.1f} us per event")


def seconds_per_event(queue: UnitQueue, length: int, kinds: list[Resources], events: int = 20_000) -> float:
    """Mean seconds of a step in which a task ends, the next unit is taken, and a new one is added."""
    plan, draw = plan_of("{idle: {kind: idle}}"), random.Random(0)

    def unit(number: int) -> Unit:
        given = {"key": str(number), "cost": draw.random(), "resources": draw.choice(kinds), "fold": number % 5}
        return Unit((replace(plan.tasks[0], **given),))

    total, held = Counter({"CPU": 100, "GPU": 8, "memory": 64 << 30}), Counter[str]()

    def lacking(wanted: Resources) -> set[str]:
        return {name for name, amount in needs(wanted).items() if total[name] - held[name] < amount}

    for number in range(length):
        queue.add(unit(number))
    new, running = [unit(length + number) for number in range(events)], []
    begun = time.perf_counter()
    for one in new:
        while (taken := queue.take(lacking)) is not None:
            running.append(taken)
            held.update(needs(taken.resources))
        ended = running.pop(0)
        held.subtract(needs(ended.resources))
        queue.add(one)
    return (time.perf_counter() - begun) / events


def units(plan: Plan, number: int, *, name: str, cost: float = 1.0) -> Iterator[Unit]:
    for i in range(number):
        yield Unit((replace(plan.tasks[0], key=f"{name}{i}", cost=cost),))


@contextlib.contextmanager
def cluster(raylets: int, slots: int) -> Iterator[None]:
    """A Ray of several raylets on this machine; it is shut down at the end."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": slots, "object_store_memory": 200 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(raylets - 1):
            made.add_node(**node)
        made.wait_for_nodes()
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        made.shutdown()


if __name__ == "__main__":
    main()
