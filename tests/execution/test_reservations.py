"""What waiting units reserve, after tasks of their members have shown what they use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.tiny import Nodes, plan_on, tiny_data

from quorate.execution.events import Fitted
from quorate.execution.queue import LongestFirst
from quorate.execution.reservations import Reservations
from quorate.plan.groups import Node
from quorate.plan.tasks import FitTask, Unit
from quorate.training.context import Hardware, MemoryUse

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
