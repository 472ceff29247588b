"""The time left of many waiting tasks, and the work that it takes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.tiny import plan_of

from quorate.execution.estimates import Estimates, makespan
from quorate.plan.tasks import Task
from quorate.report.waiting_tasks import WaitingTasks

WORKERS = 8


class Counting(Estimates):
    """Counts how often a ratio is asked for."""

    asked = 0

    def ratio(self, task: Task) -> float:
        self.asked += 1
        return super().ratio(task)


def many(number: int, seed: int = 0) -> list[Task]:
    """Tasks of two members, of 1 to 60 s."""
    chance, (svm, *_, cnn) = random.Random(seed), plan_of("{svm: svm, cnn: {kind: net, arch: small_cnn}}").tasks
    return [replace(chance.choice([svm, cnn]), key=str(i), cost=chance.uniform(1, 60)) for i in range(number)]


@pytest.mark.parametrize("number", [65, 500])
def test_the_time_left_is_that_of_a_schedule_up_to_half_the_longest_task(number: int) -> None:
    # given
    tasks, share = many(number), 1 / WORKERS
    running = [(float(seconds), share) for seconds in range(10, 10 + WORKERS)]
    waiting = WaitingTasks(tasks, Estimates(), lambda task: share)

    # then
    schedule = makespan(running, sorted(((task.cost, share) for task in tasks), reverse=True))
    assert waiting.seconds_left(running) == pytest.approx(schedule, abs=30)


def test_an_event_costs_the_same_with_a_hundred_and_with_ten_thousand_waiting_tasks() -> None:
    costs = []
    for number in (100, 10_000):
        estimates = Counting()
        tasks = many(number)
        waiting = WaitingTasks(tasks, estimates, lambda task: 1 / WORKERS)
        estimates.asked = 0
        waiting.discard(tasks[3])
        waiting.seconds_left([])
        costs.append(estimates.asked)

    assert costs == [2, 2], "one question for each of the two members"


def test_tasks_that_started_and_failed_count_again() -> None:
    tasks = many(100)
    waiting = WaitingTasks(tasks, Estimates(), lambda task: 1.0)
    before = waiting.seconds_left([])

    waiting.discard(tasks[0])
    waiting.discard(tasks[0])
    assert waiting.seconds_left([]) == pytest.approx(before - tasks[0].cost)
    waiting.add(tasks[0])

    assert (len(waiting), waiting.seconds_left([])) == (100, pytest.approx(before))
