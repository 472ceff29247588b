"""A thread writes results in their order, holds few of them, and gives its errors back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from tests.tiny import plan_of

from quorate.execution.content import WrittenBlob
from quorate.execution.events import Checkpointed
from quorate.execution.interrupt import StopRequest
from quorate.job.commits import MOST_BYTES, CommitQueue, WaitingStates
from quorate.job.outages import StoreOutages
from quorate.plan.tasks import FitTask
from quorate.store import LeaseLost

TASKS = plan_of("{m: svm}").tasks


def nothing() -> None:
    pass


def queue(
    stop: StopRequest, states: list[Checkpointed] | None = None, waiting: WaitingStates | None = None
) -> CommitQueue:
    keep: Callable[[Checkpointed], None] = [].append if states is None else states.append  # type: ignore[assignment]
    outages = StoreOutages(print, stopping=lambda: stop.requested)
    return CommitQueue(outages, stop, keep, waiting or WaitingStates())


def state(task: FitTask, number: int) -> Checkpointed:
    return Checkpointed(task, WrittenBlob(str(number)))


def test_results_are_written_in_their_order_and_reported_after_they_were_written() -> None:
    done: list[str] = []

    with queue(StopRequest()) as commits:
        for number in range(20):
            commits.put(
                1,
                lambda number=number: (time.sleep(0.001 * (number % 3)), done.append(f"write {number}")),
                lambda number=number: done.append(f"report {number}"),
            )

    assert done == [f"{what} {number}" for number in range(20) for what in ("write", "report")]


def test_a_large_result_waits_until_those_before_it_are_written() -> None:
    begun, go, second = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go.wait(10)

    with queue(StopRequest()) as commits:
        commits.put(MOST_BYTES, write, nothing)
        begun.wait(10)

        def put() -> None:
            commits.put(1, nothing, nothing)
            second.set()

        putting = threading.Thread(target=put)
        putting.start()
        assert not second.wait(0.3), "there is no room for it"
        go.set()
        putting.join(10)

    assert second.is_set()


def test_a_failed_write_stops_the_tasks_and_nothing_after_it_is_written() -> None:
    stop, written = StopRequest(), []

    def fail() -> None:
        raise LeaseLost(None)

    with pytest.raises(LeaseLost), queue(stop) as commits:
        commits.put(1, fail, lambda: written.append("reported"))
        commits.put(1, lambda: written.append("later"), nothing)

    assert stop.requested and written == []


def test_the_error_of_a_write_is_raised_by_the_next_call() -> None:
    def fail() -> None:
        raise LeaseLost(None)

    with queue(StopRequest()) as commits:
        commits.put(1, fail, nothing)
        with pytest.raises(LeaseLost):
            for _ in range(100):
                commits.put(1, nothing, nothing)
                time.sleep(0.01)


def test_a_newer_checkpoint_replaces_one_that_waits() -> None:
    first, second = TASKS[:2]
    go, states = threading.Event(), []

    with queue(StopRequest(), states) as commits:
        commits.put(1, lambda: go.wait(10), nothing)
        for number in range(5):
            commits.put_state(state(first, number))
        commits.put_state(state(second, 7))
        go.set()

    assert states == [state(first, 4), state(second, 7)]


def test_a_checkpoint_without_room_is_dropped_except_when_the_job_stops() -> None:
    first, second = TASKS[:2]
    go, states, stop = threading.Event(), [], StopRequest()

    with queue(stop, states) as commits:
        commits.put(MOST_BYTES, lambda: go.wait(10), nothing)
        commits.put_state(Checkpointed(first, b"state"))
        stop.halt()
        commits.put_state(Checkpointed(second, b"state"))
        go.set()

    assert states == [Checkpointed(second, b"state")]


def test_the_last_checkpoint_of_a_task_that_stops_is_never_dropped() -> None:
    first, second = TASKS[:2]
    go, states = threading.Event(), []

    with queue(StopRequest(), states) as commits:
        commits.put(MOST_BYTES, lambda: go.wait(10), nothing)
        commits.put_state(Checkpointed(first, b"state"))
        commits.put_state(Checkpointed(second, b"state", last=True))
        go.set()

    assert states == [Checkpointed(second, b"state", last=True)]


def test_a_checkpoint_can_be_read_until_it_is_in_the_store() -> None:
    task, waiting = TASKS[0], WaitingStates()
    begun, go, result_go = threading.Event(), threading.Event(), threading.Event()
    kept: list[Checkpointed] = []

    def keep(taken: Checkpointed) -> None:
        begun.set()
        go.wait(10)
        kept.append(taken)

    stop = StopRequest()
    with CommitQueue(StoreOutages(print, stopping=lambda: False), stop, keep, waiting) as commits:
        commits.put(1, lambda: result_go.wait(10), nothing)
        commits.put_state(state(task, 1))
        assert waiting.newest(task) == state(task, 1), "the write of a result is before it"
        result_go.set()
        begun.wait(10)
        assert waiting.newest(task) == state(task, 1), "it is being written"
        commits.put_state(state(task, 2))
        go.set()

    assert kept == [state(task, 1), state(task, 2)] and waiting.newest(task) is None
