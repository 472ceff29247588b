"""The order of waiting units, what is reserved, what leaves the queue, and how little that costs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.tiny import plan_of

from quorate.execution.budget import Agenda, Budget
from quorate.execution.estimates import Estimates
from quorate.execution.queue import InRounds, LongestFirst, UnitQueue, needs
from quorate.plan.tasks import FeatureTask, FitTask, Resources, Unit
from quorate.training.context import Numerics

(FIT, *_) = plan_of("{a: svm}").tasks
NARROW, WIDE, GPU = Resources(cpus=1), Resources(cpus=4), Resources(cpus=1, gpus=1)


def task(name: str, cost: float, resources: Resources = NARROW, fold: int = 0) -> FitTask:
    return replace(FIT, key=name, label=name, cost=cost, resources=resources, fold=fold)


def queue_of(*tasks: FitTask) -> LongestFirst:
    queue = LongestFirst()
    for one in tasks:
        queue.add(Unit((one,)))
    return queue


def free(**amounts: float) -> Callable[[Resources], set[str]]:
    """What units lack if this much is free."""
    return lambda wanted: {name for name, amount in needs(wanted).items() if amounts.get(name, 0) < amount}


EVERYTHING = free(CPU=100, GPU=100)


def taken(queue: UnitQueue, lacking: Callable[[Resources], set[str]] = EVERYTHING) -> list[str]:
    """The keys of all units that can start, in their order."""
    keys = []
    while (unit := queue.take(lacking)) is not None:
        keys += [one.key for one in unit.tasks]
    return keys


def test_the_longest_unit_is_taken_first_whatever_its_resources() -> None:
    queue = queue_of(task("a", 2), task("b", 9, WIDE), task("c", 5, GPU), task("d", 7), task("e", 7))

    assert taken(queue) == ["b", "d", "e", "c", "a"]
    assert len(queue) == 0 and not queue.can_start_any


def test_units_that_change_and_change_back_keep_their_order() -> None:
    queue = queue_of(task("a", 7), task("b", 7), task("c", 7))

    for reserved in (WIDE, None, GPU, None):
        queue.change(lambda unit, now=reserved: replace(unit, reserved=now))  # type: ignore[misc]
        queue.change(lambda unit: unit)

    assert queue.resources() == [NARROW] and len(queue) == 3
    assert taken(queue) == ["a", "b", "c"]


def test_the_cost_of_a_unit_is_that_of_its_tasks_together() -> None:
    queue = queue_of(task("a", 5))
    queue.add(Unit((task("b", 3), task("c", 3))))

    assert taken(queue) == ["b", "c", "a"]


def test_features_come_before_longer_units() -> None:
    from quorate.members.backbone import Backbone

    queue = queue_of(task("a", 50))
    backbone = Backbone.model_construct(arch="timm/test_resnet")
    queue.add(Unit((FeatureTask("features", backbone, "train", 0, 10, Numerics(), cost=1.0),)))

    assert taken(queue) == ["features", "a"]


def test_units_that_have_lost_their_worker_come_before_longer_ones_whatever_changes() -> None:
    queue = queue_of(task("a", 50), task("b", 5))
    queue.add(Unit((task("short", 1),)), begun=True)
    queue.add(Unit((task("long", 9),)), begun=True)
    queue.change(lambda unit: replace(unit, reserved=WIDE))

    assert taken(queue) == ["long", "short", "a", "b"]


def test_what_a_longer_unit_lacks_is_reserved_and_units_that_do_not_need_it_start() -> None:
    queue = queue_of(task("wide", 9, WIDE), task("narrow", 5), task("gpu", 3, Resources(cpus=0, gpus=1)))

    assert taken(queue, free(CPU=3, GPU=1)) == ["gpu"]
    assert taken(queue, free(CPU=4, GPU=0)) == ["wide", "narrow"]


def test_a_unit_that_lacks_an_accelerator_does_not_keep_others_from_the_cpus_unless_it_is_longer() -> None:
    queue = queue_of(task("gpu", 9, GPU), task("narrow", 5), task("wide", 3, WIDE))

    assert taken(queue, free(CPU=4, GPU=0)) == ["narrow", "wide"]


def test_a_removed_task_is_not_taken_and_its_unit_goes_on_without_it() -> None:
    queue = queue_of(task("a", 9), task("b", 5))
    queue.add(Unit((task("c", 1), task("d", 1))))

    assert queue.remove(task("a", 9)) and queue.remove(task("c", 1))

    assert not queue.remove(task("a", 9)), "it is no longer waiting"
    assert len(queue) == 2
    assert taken(queue) == ["b", "d"]
    assert not queue.remove(task("b", 5))


def test_a_removed_task_can_be_added_again() -> None:
    queue = queue_of(task("a", 9), task("b", 5))

    queue.remove(task("a", 9))
    queue.add(Unit((task("a", 3),)))

    assert taken(queue) == ["b", "a"]


def test_all_units_or_those_with_the_same_resources_are_drained_in_their_order() -> None:
    tasks = [task("a", 2), task("b", 9, WIDE), task("c", 5), task("d", 1, WIDE)]

    assert [unit.tasks[0].key for unit in queue_of(*tasks).drain()] == ["b", "c", "a", "d"]
    queue = queue_of(*tasks)
    assert [unit.tasks[0].key for unit in queue.drain(WIDE)] == ["b", "d"]
    assert queue.resources() == [NARROW] and taken(queue) == ["c", "a"]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_looking_at_all_units_each_time(seed: int) -> None:
    """The reference sorts everything and looks at every unit, as the queue was before it had heaps."""
    draw = random.Random(seed)
    kinds = [NARROW, WIDE, GPU, Resources(cpus=2)]
    queue, waiting, running = LongestFirst(), [], []

    def lacking(wanted: Resources) -> set[str]:
        total = {"CPU": 6.0, "GPU": 1.0}
        held = {name: sum(needs(one.resources).get(name, 0) for one in running) for name in total}
        return {name for name, amount in needs(wanted).items() if total[name] - held[name] < amount}

    def reference() -> FitTask | None:
        reserved: set[str] = set()
        for one in sorted(waiting, key=lambda one: -one.cost):
            if reserved & set(needs(one.resources)):
                continue
            if not (missing := lacking(one.resources)):
                return one
            reserved |= missing
        return None

    for number in range(400):
        match draw.choice(["add", "add", "take", "end", "remove"]):
            case "add":
                waiting.append(task(str(number), draw.random(), draw.choice(kinds)))
                queue.add(Unit((waiting[-1],)))
            case "take":
                expected, unit = reference(), queue.take(lacking)
                assert (unit.tasks[0] if unit else None) == expected
                if expected is not None:
                    waiting.remove(expected)
                    running.append(expected)
            case "end" if running:
                running.pop(draw.randrange(len(running)))
            case "remove" if waiting:
                assert queue.remove(waiting.pop(draw.randrange(len(waiting))))
        assert len(queue) == len(waiting)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


def test_under_a_budget_new_estimates_move_waiting_units() -> None:
    # given: b is the longest of its round by the plan
    estimates, clock = Estimates(), Clock()
    queue = InRounds(Agenda(Budget(1e4, time.monotonic()), estimates, lambda task: 1.0), clock)
    tasks = [replace(task(name, cost), member=name) for name, cost in (("a", 5), ("b", 9), ("c", 7))]
    for one in tasks:
        queue.add(Unit((one,)))
    assert queue.take(EVERYTHING) == Unit((tasks[1],))

    # when: earlier fits show that a takes ten times as long as the plan says, and c does not
    estimates.reused(tasks[0], 50.0)
    estimates.reused(tasks[2], 7.0)
    clock.now += 1.0

    # then
    assert taken(queue) == ["a", "c"]


def test_under_a_budget_units_that_would_not_end_in_time_wait_for_a_new_estimate() -> None:
    estimates, clock = Estimates(), Clock()
    queue = InRounds(Agenda(Budget(100, time.monotonic()), estimates, lambda task: 1.0), clock)
    long = replace(task("long", 500), member="long")
    for one in (task("short", 1), long):
        queue.add(Unit((one,)))

    assert taken(queue) == ["short"]
    assert len(queue) == 1 and not queue.can_start_any
    estimates.reused(long, 5.0)

    assert queue.can_start_any and taken(queue) == ["long"]


def test_under_a_budget_a_unit_that_would_be_too_late_can_be_removed() -> None:
    queue = InRounds(Agenda(Budget(100, time.monotonic()), Estimates(), lambda task: 1.0))
    queue.add(Unit((task("long", 500),)))
    assert taken(queue) == []

    assert queue.remove(task("long", 500))

    assert len(queue) == 0 and list(queue.drain()) == []


def test_under_a_budget_sorting_takes_a_small_part_of_the_time() -> None:
    """A clock that moves one second in each sorting, and 0.1 s from one event to the next."""
    agenda, clock = Agenda(Budget(1e6, time.monotonic()), Estimates(), lambda task: 1.0), Clock()
    queue, sortings = InRounds(agenda, clock), []

    def room(of: Agenda) -> float:
        sortings.append(clock.now)
        clock.now += 1.0
        return 1e6

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Agenda, "room", room)
        for number in range(2000):
            queue.add(Unit((task(str(number), 1.0),)))
            queue.take(EVERYTHING)
            clock.now += 0.1

    assert 2 <= len(sortings) <= 0.05 * clock.now


def test_the_waiting_units_are_counted_by_their_resources() -> None:
    queue = queue_of(task("a", 1), task("b", 5), task("c", 2, GPU))
    queue.remove(task("a", 1))

    assert {one: (unit.tasks[0].key, count) for one, (unit, count) in queue.waiting().items()} == {
        NARROW: ("b", 1),
        GPU: ("c", 1),
    }
    queue.take(EVERYTHING)
    queue.take(EVERYTHING)
    assert queue.waiting() == {}
