"""Networks that several workers train together: the results of one process, also when a worker or their lead dies."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.clusters import hosts, start_cluster
from tests.execution.jobs import failures, fitted, plan_of, run

from quorate.execution.base import Policy, Session
from quorate.execution.events import Checkpointed, Event, Fitted, Reported, Started
from quorate.execution.local import LocalExecutor
from quorate.execution.ray.actor_pool import ActorPool
from quorate.execution.ray.autoscaling import Autoscaler
from quorate.execution.ray.executor import RayExecutor
from quorate.execution.ray.nodes import Nodes
from quorate.plan.tasks import Plan, Resources

pytestmark = pytest.mark.system

MLP = {"kind": "net", "arch": "mlp", "batch_size": 64, "precision": "float32", "schedule": "one_cycle"}
"""With batch normalization. Of the 150 training rows of a fold, the last batch has 22."""
TOGETHER = {"workers": 2, "sync_batchnorm": True}


def first_fold(plan: Plan) -> Plan:
    return replace(plan, tasks=plan.tasks[:1])


def alone(epochs: int) -> Fitted:
    """The result of a single process."""
    plan = first_fold(plan_of({"mlp": MLP | {"epochs": epochs}}))
    (done,) = fitted(run(LocalExecutor(), plan)).values()
    return done


def together(epochs: int) -> Plan:
    return first_fold(plan_of({"mlp": MLP | TOGETHER | {"epochs": epochs}}, RayExecutor(own=False)))


def assert_equal(found: Fitted, expected: Fitted) -> None:
    """Within 1e-5: the probabilities, and the metrics of each epoch except its seconds."""
    np.testing.assert_allclose(found.valid, expected.valid, rtol=0, atol=1e-5)
    assert len(found.history) == len(expected.history)
    for epoch, single in zip(found.history, expected.history, strict=True):
        assert epoch.keys() == single.keys()
        assert all(abs(epoch[name] - single[name]) < 1e-5 for name in epoch if name != "seconds")


def assert_nothing_is_held() -> None:
    """Both CPUs of the Ray are free again, within the seconds that its processes take to end."""
    import ray

    until = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert ray.available_resources().get("CPU") == 2


def test_two_workers_equal_one_process_within_the_rounding_of_float32(ray_session: None) -> None:
    begun = time.monotonic()
    (done,) = fitted(run(RayExecutor(own=False), together(1))).values()

    assert done.complete
    assert 2 < done.seconds <= time.monotonic() - begun  # with the start of the workers
    assert_equal(done, alone(1))
    assert_nothing_is_held()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_task_continues_from_its_checkpoint_when_a_worker_and_then_the_lead_is_killed(ray_session: None) -> None:
    # when: a worker is killed after the first epoch, and the lead after the second
    begun: list[Started] = []
    killed: list[int] = []

    def kill(event: Event, session: Any) -> None:
        if isinstance(event, Started):
            begun.append(event)
        elif isinstance(event, Checkpointed) and len(killed) < 2:
            lead = next(iter(session._pool.busy))
            killed.append(lead.pid if killed else int(begun[-1].worker.rpartition(":")[2]))
            os.kill(killed[-1], signal.SIGKILL)

    events = run(RayExecutor(own=False), together(4), policy=Policy(checkpoint_seconds=0), on=kill)

    # then: at most one epoch is repeated each time, and the result is that of one process
    (done,) = fitted(events).values()
    assert_equal(done, alone(4))
    assert [event.restored for event in begun] == [False, True, True]
    first, second = failures(events)
    import ray

    here = ray.util.get_node_ip_address()
    assert (first.status, first.message, first.final) == ("lost", f"worker 1 of 2 on {here} died", False)
    assert second.status == "lost" and second.message.startswith("the worker died: ")
    epochs = [event.epoch for event in events if isinstance(event, Reported)]
    assert len(epochs) <= 4 + 2 and set(epochs) == {1, 2, 3, 4}
    assert_nothing_is_held()


@pytest.mark.slow
def test_a_stopped_task_keeps_its_state_and_one_that_is_given_up_frees_its_workers(ray_session: None) -> None:
    kept: dict[str, bytes] = {}

    def stop(event: Event, session: Session) -> None:
        if isinstance(event, Reported):
            session.stop()

    # when: it is stopped at its first report
    plan = together(500)
    events = run(RayExecutor(own=False), plan, on=stop, checkpoints=kept)

    # then
    assert type(events[-1]).__name__ == "Stopped" and plan.tasks[0].key in kept
    assert_nothing_is_held()

    # when: it is given up at its first report
    def give_up(event: Event, session: Session) -> None:
        if isinstance(event, Reported):
            session.stop(within=0)

    events = run(RayExecutor(own=False), plan, on=give_up, checkpoints=kept)

    # then
    assert [event.restored for event in events if isinstance(event, Started)] == [True]
    assert_nothing_is_held()


def test_a_unit_gets_as_many_workers_as_there_is_room_for(ray_session: None) -> None:
    plan, elastic = plan_of({"slow": {"kind": "odd", "seconds": 20}}), Resources(workers=(1, 4))
    pool = ActorPool(plan.context, Nodes(), Autoscaler(), Policy().destination)

    assert pool._granted(elastic).workers == (2, 2)
    assert pool.lacking(Resources(workers=(3, 3))) == {"actor with 3 workers with 1 cpu each"}

    pool.take(Resources(), None)
    assert not pool.lacking(elastic)
    assert pool._granted(elastic) == Resources()
    assert pool.lacking(Resources(workers=(2, 2))) == {"CPU"}

    pool.want({Resources(workers=(2, 3)): 2, Resources(): 1})  # a cluster that grows is asked for single workers
    assert {wanted: len(actors) for wanted, actors in pool._pending._waiting.items()} == {Resources(): 5}
    pool.retire_all()


ELASTIC = """
import sys
from dataclasses import replace
from quorate.execution.ray.cluster import start_ray
own = start_ray(sys.argv[1])
from quorate.execution.base import Policy
from quorate.execution.ray.executor import RayExecutor
from tests.execution.jobs import plan_of, run
from tests.execution.ray.test_worker_groups import MLP

executor = RayExecutor(own=own)
member = MLP | {"epochs": 60, "cpus": 2, "workers": [1, 2], "sync_batchnorm": True}
plan = plan_of({"mlp": member}, executor)
def say(event, session):
    said = [getattr(event, name, "") for name in ("restored", "epoch", "message")]
    print(type(event).__name__, *said, flush=True)
run(executor, replace(plan, tasks=plan.tasks[:1]), policy=Policy(checkpoint_seconds=0), on=say)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_member_that_loses_a_host_continues_with_the_workers_that_are_left() -> None:
    with hosts(2) as (head, other):
        start_cluster([head, other])  # two CPUs each, so each worker takes a host
        driver = head.start(sys.executable, "-c", ELASTIC, f"{head.address}:6379", log="events.log")
        log = head.folder / "events.log"
        until = time.monotonic() + 180
        while "Checkpointed" not in log.read_text():
            assert time.monotonic() < until and driver.poll() is None, log.read_text()
            time.sleep(0.1)

        other.signal(signal.SIGKILL)

        assert driver.wait(240) == 0, log.read_text()
        said = log.read_text().splitlines()
        starts = [line for line in said if line.startswith("Started")]
        assert [line.split()[1] for line in starts] == ["False", "True"]
        lost = [line for line in said if line.startswith("Failed")]
        assert 1 <= len(lost) <= 3, said  # also an actor that Ray starts on the host before it knows that this is dead
        assert said[-1].startswith("Fitted")
