"""Hosts that die or lose their network while they train."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clusters import Host, hosts, start_cluster

SESSION = """
import sys, time
from quorate.execution.ray.cluster import start_ray
own = start_ray(sys.argv[1])
from quorate.execution.base import Policy
from quorate.execution.ray.executor import RayExecutor
from quorate.plan.tasks import Unit
from tests.execution.jobs import plan_of

seconds = float(sys.argv[2])
plan = plan_of({"one": {"kind": "odd", "seconds": seconds}, "two": {"kind": "odd", "seconds": seconds}})
with RayExecutor(own=own).open(plan.context, Policy()) as session:
    session.submit(Unit((task,)) for task in plan.tasks)
    for event in session.events():
        name, about = type(event).__name__, vars(event)
        detail = about.get("message", about.get("worker", about.get("host", "")))
        print(f"{time.time():.1f} {name} {event.task.member}/{event.task.fold} {detail}", flush=True)
"""
TASKS = {"one/0", "one/1", "two/0", "two/1"}


@pytest.fixture
def two() -> Iterator[tuple[Host, Host]]:
    """Two hosts of two CPUs; the driver runs on the first one."""
    with hosts(2) as (head, other):
        start_cluster([head, other])
        yield head, other


def started_session(head: Host, seconds: float) -> Path:
    """Run four tasks of this length, two on each host; returns the log when all have started."""
    head.start(sys.executable, "-c", SESSION, f"{head.address}:6379", str(seconds), log="events.log")
    log = head.folder / "events.log"
    wait_for_lines(log, " Started ", 4, seconds=90)
    return log


def wait_for_lines(log: Path, text: str, count: int, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while sum(text in line for line in log.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def events(log: Path, name: str) -> list[tuple[float, str, str]]:
    """The times, tasks and details of the events with this name."""
    words = [line.split(maxsplit=3) for line in log.read_text().splitlines() if f" {name} " in line]
    return [(float(one[0]), one[2], one[3] if len(one) > 3 else "") for one in words]


@pytest.mark.slow
def test_tasks_of_a_host_without_network_start_elsewhere_and_their_late_results_are_refused(
    two: tuple[Host, Host],
) -> None:
    head, other = two
    log = started_session(head, 40)
    time.sleep(15)  # a node is watched as soon as a process on it has answered once

    other.cut_off()
    cut = time.time()
    wait_for_lines(log, " Started ", 6, seconds=40)
    other.reconnect()  # the first attempts have ended there, or will
    assert head.started[-1].wait(90) == 0

    ((told, _, host),) = events(log, "HostSilent")
    assert host == other.address and 9 < told - cut < 15, (cut, told)
    again = events(log, "Started")[4:]
    assert len(again) == 2
    assert all(at - cut < 30 for at, _, _ in again), (cut, again)
    lost = events(log, "Failed")
    assert {task for _, task, _ in lost} == {task for _, task, _ in again}
    assert {message for _, _, message in lost} == {f"host {other.address} has not answered for 20 s"}
    fitted = [task for _, task, _ in events(log, "Fitted")]
    assert sorted(fitted) == sorted(TASKS)


@pytest.mark.slow
@pytest.mark.chaos
def test_tasks_of_a_host_that_dies_start_elsewhere(two: tuple[Host, Host]) -> None:
    head, other = two
    log = started_session(head, 5)

    other.signal(signal.SIGKILL)
    killed = time.time()
    assert head.started[-1].wait(90) == 0

    again = events(log, "Started")[4:]
    assert len(again) == 2
    assert all(at - killed < 30 for at, _, _ in again), (killed, again)
    assert {message for _, _, message in events(log, "Failed")} == {f"host {other.address} was lost"}
    other_lines = [line for line in log.read_text().splitlines() if not re.match(r"\d+\.\d \w+ (one|two)/", line)]
    assert other_lines == [], "Ray prints nothing about it"
    assert sorted(task for _, task, _ in events(log, "Fitted")) == sorted(TASKS)


TRAINING = """
import sys
from quorate.execution.ray.cluster import start_ray
own = start_ray(sys.argv[1])
from quorate.execution.base import Policy, Sources
from quorate.execution.events import Checkpointed
from quorate.execution.ray.executor import RayExecutor
from quorate.plan.tasks import Unit
from tests.execution.jobs import CNN, plan_of

plan, kept = plan_of({"one": {**CNN, "epochs": 150}, "two": {**CNN, "epochs": 150}}), {}
policy = Policy(checkpoint_seconds=1000, sources=Sources(lambda task: kept.get(task.key)))
with RayExecutor(own=own).open(plan.context, policy) as session:
    session.submit(Unit((task,)) for task in plan.tasks)
    for event in session.events():
        if isinstance(event, Checkpointed):
            kept[event.task.key] = event.content
        detail = getattr(event, "epoch", getattr(event, "restored", getattr(event, "message", "")))
        print(f"0 {type(event).__name__} {event.task.member}/{event.task.fold} {detail}", flush=True)
"""


@pytest.mark.chaos
def test_tasks_of_a_node_that_is_preempted_continue_elsewhere_without_losing_an_epoch(two: tuple[Host, Host]) -> None:
    head, other = two
    head.start(sys.executable, "-c", TRAINING, f"{head.address}:6379", log="events.log")
    log = head.folder / "events.log"
    wait_for_lines(log, " Reported ", 20, seconds=90)

    other.started[0].send_signal(signal.SIGTERM)  # as a cloud announces that it takes the machine
    assert head.started[-1].wait(120) == 0, log.read_text()

    assert not events(log, "Failed")
    again = [task for _, task, restored in events(log, "Started") if restored == "True"]
    assert len(again) == 2
    for task in TASKS:  # each epoch was trained once
        assert [int(epoch) for _, one, epoch in events(log, "Reported") if one == task] == list(range(1, 151))
