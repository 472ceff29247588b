"""Waiting for nodes: the decisions on a clock of the test, and a cluster that grows from nothing and shrinks again."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.core.generated.autoscaler_pb2 import ResourceRequest
from tests.clusters import Host, alive_nodes, hosts, start_autoscaling_cluster, wait_for_nodes

from quorate.execution.node_waits import GRACE_SECONDS, NodeWait, NodeWaits
from quorate.execution.ray import autoscaling
from quorate.plan.tasks import Resources

H100 = Resources(gpus=1, labels=(("ray.io/accelerator-type", "H100"),))


class Types:
    """The answers of a cluster's autoscaler."""

    def __init__(self, *, can_grow: bool, refused: Resources | None = None) -> None:
        self.can_grow, self._refused = can_grow, refused

    def refuses(self, resources: Resources) -> bool:
        return resources == self._refused


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def wait_after(seconds: float, types: Types, *, idle: bool = True) -> NodeWait:
    """The wait for an H100 after this number of seconds, with a limit of ten minutes."""
    clock = Clock()
    waits = NodeWaits(types, 600, clock)
    waits.look([H100], idle=idle)
    clock.now += seconds
    (wait,) = waits.look([H100], idle=idle)
    return wait


def test_a_wait_says_what_it_waits_for_and_how_long() -> None:
    wait = wait_after(125, Types(can_grow=True))

    assert str(wait) == "waiting for a node with 1 cpu, 1 gpu, ray.io/accelerator-type=H100 (2 of 10 min)"
    assert not wait.refusal


def test_a_wait_ends_at_its_limit_with_the_fix() -> None:
    assert not wait_after(599, Types(can_grow=True)).refusal

    refusal = wait_after(600, Types(can_grow=True)).refusal

    joined = "no node with 1 cpu, 1 gpu, ray.io/accelerator-type=H100 joined the cluster within 10 min"
    assert refusal.startswith(joined)
    assert "execution.wait_for_nodes" in refusal


def test_what_no_node_type_can_hold_is_refused_after_a_grace() -> None:
    types = Types(can_grow=True, refused=H100)

    assert not wait_after(GRACE_SECONDS - 1, types).refusal
    assert wait_after(GRACE_SECONDS, types).refusal.startswith("no node type of the cluster has 1 cpu, 1 gpu")


def test_a_cluster_that_does_not_grow_refuses_after_a_grace_when_nothing_runs() -> None:
    types = Types(can_grow=False)

    assert not wait_after(GRACE_SECONDS - 1, types).refusal
    assert not wait_after(GRACE_SECONDS, types, idle=False).refusal
    assert wait_after(GRACE_SECONDS, types).refusal.startswith("no node of the cluster has 1 cpu, 1 gpu")


@pytest.mark.parametrize("can_grow", [True, False])
def test_a_unit_that_was_bound_to_nodes_by_their_ids_does_not_wait_for_other_nodes(can_grow: bool) -> None:
    clock, bound = Clock(), Resources(labels=(("ray.io/node-id", "in(a1,b2)"),))
    waits = NodeWaits(Types(can_grow=can_grow), 600, clock)
    waits.look([bound], idle=False)
    clock.now += GRACE_SECONDS

    (wait,) = waits.look([bound], idle=False)

    assert wait.refusal == (
        "the nodes that were chosen for this task by their ids have left the cluster (1 cpu, ray.io/node-id=in(a1,b2"
        ")); start the job again to choose others, or give the nodes of each kind a label of their own"
    )


def test_a_third_of_an_accelerator_is_found_in_the_report_of_the_autoscaler() -> None:
    request = ResourceRequest(resources_bundle={"CPU": 1.0, "GPU": 0.3333})  # what Ray makes of 1/3

    assert autoscaling._is_for(request, Resources(gpus=1 / 3))
    assert not autoscaling._is_for(request, Resources(gpus=1 / 4))
    assert not autoscaling._is_for(request, Resources())


def test_a_wait_begins_anew_when_the_node_had_been_there_in_between() -> None:
    clock = Clock()
    waits = NodeWaits(Types(can_grow=True), 600, clock)
    waits.look([H100], idle=False)
    clock.now += 500
    waits.look([], idle=False)

    (wait,) = waits.look([H100], idle=False)

    assert wait.seconds == 0


NODE_TYPES: dict[str, Any] = {
    "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    "h100": {
        "resources": {"CPU": 1, "GPU": 1},
        "labels": {"ray.io/accelerator-type": "H100"},
        "node_config": {},
        "min_workers": 0,
        "max_workers": 1,
    },
}
"""Two groups of nodes; the second has an accelerator in name only, so its members compute on the CPU."""

SESSION = """
import sys
from dataclasses import replace
from quorate.execution.ray.cluster import start_ray
own = start_ray(sys.argv[1])
from quorate.execution.base import Policy
from quorate.execution.node_waits import NoNodeError
from quorate.execution.ray.executor import RayExecutor
from quorate.plan.tasks import Resources, Unit
from tests.execution.jobs import plan_of

executor = RayExecutor(own=own, wait_for_nodes=90, say=lambda message: print("said:", message))
print("cores:", executor.groups_for(Resources())[0].hardware.cores)
plan = plan_of({"slim": {"kind": "odd"}, "fast": {"kind": "odd"}, "huge": {"kind": "odd"}})
needs = {
    "slim": Resources(), "fast": Resources(labels=(("ray.io/accelerator-type", "H100"),)), "huge": Resources(cpus=64),
}
with executor.open(plan.context, Policy()) as session:
    session.submit(Unit((replace(task, resources=needs[task.member]),)) for task in plan.tasks)
    for event in session.events():
        name = type(event).__name__
        print(name, event.task.member, getattr(event, "message", getattr(event, "wait", "")), flush=True)
"""


@pytest.fixture(scope="module")
def growing() -> Iterator[Host]:
    """The head, without CPUs, of a cluster without nodes that starts them when they are asked for."""
    with hosts(1) as (head,):
        start_autoscaling_cluster(head, NODE_TYPES)
        yield head


@pytest.mark.slow
def test_units_get_the_nodes_that_they_need_and_what_no_node_type_has_is_refused(growing: Host) -> None:
    said = growing.python(SESSION, f"{growing.address}:6379", seconds=300).splitlines()

    assert "said: waiting for a node with 1 cpu (0 of 90 s)" in said
    waited = [line for line in said if line.startswith("NodeAwaited fast")]
    assert waited and "1 cpu, ray.io/accelerator-type=H100" in waited[0]
    assert sum(line.startswith("Fitted slim") for line in said) == 2
    assert sum(line.startswith("Fitted fast") for line in said) == 2
    failed = [line for line in said if line.startswith("Failed")]
    assert len(failed) == 2 and all("no node type of the cluster has 64 cpus" in line for line in failed)
    assert wait_for_nodes(growing, 1, seconds=60, exactly=True) < 60


SHRINKS = """
import sys, time
from dataclasses import replace
from quorate.execution.ray.cluster import start_ray
own = start_ray(sys.argv[1])
import ray
from quorate.execution.base import Policy
from quorate.execution.events import Fitted
from quorate.execution.ray.executor import RayExecutor
from quorate.plan.tasks import Resources, Unit
from tests.execution.jobs import plan_of

executor = RayExecutor(own=own, wait_for_nodes=90)
plan = plan_of({"brief": {"kind": "odd", "seconds": 4}, "long": {"kind": "odd", "seconds": 45}})
needs = {"brief": Resources(), "long": Resources(labels=(("ray.io/accelerator-type", "H100"),))}
most = 0
with executor.open(plan.context, Policy()) as session:
    session.submit(Unit((replace(task, resources=needs[task.member]),)) for task in plan.tasks)
    for event in session.events():
        alive = sum(node["Alive"] for node in ray.nodes())
        most = max(most, alive)
        if isinstance(event, Fitted):
            print(event.task.member, alive, most, flush=True)
"""


@pytest.mark.slow
def test_a_node_whose_tasks_have_ended_leaves_while_the_tasks_of_another_node_run(growing: Host) -> None:
    said = growing.python(SHRINKS, f"{growing.address}:6379", seconds=300).splitlines()

    ends = [line.split() for line in said if line.startswith(("brief", "long"))]
    assert [name for name, _, _ in ends] == ["brief", "brief", "long", "long"]
    _, alive, most = ends[-1]
    assert (alive, most) == ("2", "3"), "the head and the node of the long tasks are left"
    wait_for_nodes(growing, 1, seconds=60, exactly=True)


JOB: dict[str, Any] = {
    "name": "grown",
    "data": {"kind": "digits", "limit": 400},
    "validation": {"folds": 2},
    "members": {
        "logistic": {"kind": "logistic"},
        "svm": {"kind": "svm", "C": 10},
        "on_h100": {"kind": "logistic", "C": 0.5, "gpus": 0, "needs": {"accelerator": "H100"}},
    },
    "execution": {"executor": "ray", "wait_for_nodes": "3m"},
    "tracking": {"enabled": False},
}


@pytest.mark.system
def test_a_job_starts_without_workers_gets_both_groups_and_releases_them(growing: Host, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    words = ["-m", "quorate", "train", "job.yaml", "--address", f"{growing.address}:6379"]
    assert len(alive_nodes(growing)) == 1

    job = growing.start(sys.executable, *words, cwd=tmp_path, log="job.log")
    seen: list[dict[str, float]] = []
    while job.poll() is None:
        seen = max(seen, [resources for _, resources in alive_nodes(growing)], key=len)
        time.sleep(0.5)
    said = (growing.folder / "job.log").read_text()

    assert job.returncode == 0, said
    assert "waiting for a node with 1 cpu" in said
    assert sorted((one.get("CPU", 0), one.get("GPU", 0)) for one in seen) == [(0, 0), (1, 1), (2, 0)], seen
    wait_for_nodes(growing, 1, seconds=60, exactly=True)


@pytest.mark.slow
def test_an_interrupted_job_leaves_no_request_for_nodes(growing: Host, tmp_path: Path) -> None:
    job_file = {**JOB, "members": {"logistic": {"kind": "logistic", "cpus": 64}}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job_file))
    words = ["-m", "quorate", "train", "job.yaml", "--address", f"{growing.address}:6379"]

    job = growing.start(sys.executable, *words, cwd=tmp_path, log="stopped.log")
    deadline = time.monotonic() + 60
    while "waiting for a node with" not in (growing.folder / "stopped.log").read_text():
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.2)
    job.send_signal(signal.SIGINT)

    assert job.wait(20) == 130
    wait_for_nodes(growing, 1, seconds=60, exactly=True)
    assert growing.python(DEMAND, f"{growing.address}:6379").split() == ["0"]


DEMAND = """
import sys
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply
reply = GetClusterStatusReply()
reply.ParseFromString(GcsClient(sys.argv[1]).get_cluster_status(timeout_s=5))
print(len(reply.cluster_resource_state.pending_resource_requests))
"""
