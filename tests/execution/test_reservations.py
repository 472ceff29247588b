"""What waiting units reserve, after tasks of their members have shown what they use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.tiny import Nodes, plan_on, tiny_data

from quorate.execution.events import Featured, Fitted
from quorate.execution.queue import LongestFirst
from quorate.execution.reservations import Reservations
from quorate.members.backbone import Backbone
from quorate.plan.groups import Node
from quorate.plan.tasks import FeatureTask, FitTask, Resources, Unit
from quorate.training.context import Hardware, MemoryUse, Numerics

GIB = 1 << 30
HERE = Hardware(cores=4, gpus=0, fast_bfloat16=False, cpu="a CPU", memory=16 * GIB, room=8 * GIB)
MEMBERS = "{m: svm, n: {kind: svm, C: 2}, own: {kind: svm, C: 3, memory: 3GiB}}"


def tasks() -> dict[str, FitTask]:
    places = Nodes((Node("here", HERE, (), HERE.cores, HERE.gpus),))
    return {task.member: task for task in plan_on(places, MEMBERS, tiny_data()).tasks if task.fold == 0}


def used(task: FitTask, size: int) -> Fitted:
    return Fitted(task, np.ones((1, 3), np.float32), [], {}, 1.0, complete=True, memory=MemoryUse(size))


def memory(reservations: Reservations, task: FitTask) -> int:
    return reservations.of(Unit((task,))).resources.memory


def feature_task(arch: str, key: str) -> FeatureTask:
    task = FeatureTask(key, Backbone(arch=arch), "train", 0, 10, Numerics(), cost=1.0)
    return replace(task, estimate=MemoryUse(440 << 20), share=2 * GIB)


def test_as_long_as_all_stay_within_the_memory_of_their_cores_nothing_is_reserved() -> None:
    each, reservations = tasks(), Reservations(None)

    assert reservations.learn(used(each["m"], GIB)) is None

    assert [memory(reservations, each[name]) for name in ("m", "n", "own")] == [0, 0, 3 * GIB]


def test_after_a_task_that_uses_more_every_unit_reserves_what_it_needs() -> None:
    """A core comes with 2 GiB. In steps of 256 MiB, 3 GiB and a tenth more are 3.5 GiB, and 440 MiB are 512."""
    each, reservations = tasks(), Reservations(None)

    assert reservations.learn(used(each["m"], 3 * GIB)) == "all"

    assert [memory(reservations, each[name]) for name in ("m", "n", "own")] == [7 * GIB // 2, GIB // 2, 3 * GIB]
    assert reservations.learn(used(each["m"], 2 * GIB)) is None, "the largest counts"
    assert reservations.learn(used(each["n"], GIB)) == "member"
    assert reservations.learn(used(each["n"], GIB + 1)) is None, "the same after rounding"
    assert memory(reservations, each["n"]) == 5 * GIB // 4
    assert reservations.learn(used(each["own"], 9 * GIB)) is None, "the job file decides"


def test_the_tasks_of_a_frozen_network_reserve_what_one_of_them_used() -> None:
    each, reservations, queue = tasks(), Reservations(None), LongestFirst()
    parts = [feature_task("timm/resnet18", f"part {number}") for number in range(2)]
    other = feature_task("timm/resnet50", "other")
    for task in (parts[1], other, each["m"]):
        queue.add(reservations.of(Unit((task,))))
    done = Featured(parts[0], np.ones((1, 3), np.float32), 1.0, MemoryUse(3 * GIB))

    assert reservations.learn(done) == "all"
    queue.change(reservations.of)

    memory = {unit.tasks[0].key: unit.resources.memory for unit in queue.drain()}
    assert memory == {"part 1": 7 * GIB // 2, "other": GIB // 2, each["m"].key: GIB // 2}
    again = replace(done, memory=MemoryUse(4 * GIB))
    assert reservations.learn(again) == "member"


def test_a_task_of_a_frozen_network_that_exhausted_a_node_runs_alone_with_a_higher_estimate() -> None:
    reservations = Reservations(None, lambda resources: replace(resources, cpus=4, memory=8 * GIB))
    task, next_one = (feature_task("timm/resnet18", name) for name in ("first", "next"))

    reservations.exhausted(task, MemoryUse(2 * GIB))

    assert reservations.of(Unit((task,))).resources == Resources(4, memory=8 * GIB)
    assert reservations.of(Unit((next_one,))).resources.memory == 7 * GIB // 2, "1.5 times, and a tenth more"


def test_a_unit_that_needs_more_than_any_node_reserves_the_largest_node() -> None:
    each, reservations = tasks(), Reservations(lambda resources: 5 * GIB)

    reservations.learn(used(each["m"], 20 * GIB))

    assert memory(reservations, each["m"]) == 5 * GIB


def test_the_tasks_of_a_pack_reserve_their_memory_together() -> None:
    each, reservations = tasks(), Reservations(None)
    reservations.learn(used(each["m"], 3 * GIB))
    pack = Unit((each["m"], replace(each["m"], key="other")), "together")

    assert reservations.of(pack).resources.memory == 7 * GIB


def test_waiting_units_are_changed_and_keep_their_order() -> None:
    each, reservations, queue = tasks(), Reservations(None), LongestFirst()
    many = [replace(each["m"], key=f"m{number}") for number in range(3)]
    for task in [*many, each["n"]]:
        queue.add(reservations.of(Unit((task,))))
    reservations.learn(used(each["m"], 3 * GIB))

    queue.change(reservations.of, "m")

    assert {resources.memory for resources in queue.resources()} == {7 * GIB // 2, 0}
    order = [queue.take(lambda wanted: ()) for _ in range(4)]
    assert [unit.tasks[0].key for unit in order if unit is not None] == ["m0", "m1", "m2", each["n"].key]
    assert queue.take(lambda wanted: ()) is None and len(queue) == 0
