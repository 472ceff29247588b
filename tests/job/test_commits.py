"""A thread writes results in their order, holds few of them, and gives its errors back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import plan_of

from quorate.execution.content import HeldBytes, SpooledFile, WrittenBlob
from quorate.execution.events import Checkpointed
from quorate.execution.interrupt import StopRequest
from quorate.job.commits import MOST, CommitQueue, WaitingStates
from quorate.job.outages import StoreOutages
from quorate.plan.tasks import FitTask
from quorate.results.results import Results
from quorate.store import LeaseLost, open_store

TASKS = plan_of("{m: svm}").tasks
ONE = HeldBytes(1, 1)


def nothing() -> None:
    pass


class Kept(Results):
    """Results that only list the checkpoints that they keep and discard."""

    def __init__(self) -> None:
        self.states: list[Checkpointed] = []
        self.discarded: list[Checkpointed] = []
        self.wait: Callable[[], object] = nothing

    def keep_checkpoint(self, taken: Checkpointed) -> None:
        self.wait()
        self.states.append(taken)

    def discard(self, taken: Checkpointed) -> None:
        self.discarded.append(taken)


def queue(stop: StopRequest, kept: Kept | None = None, waiting: WaitingStates | None = None) -> CommitQueue:
    outages = StoreOutages(print, stopping=lambda: stop.requested)
    return CommitQueue(outages, stop, waiting or WaitingStates(kept or Kept()))


def state(task: FitTask, number: int) -> Checkpointed:
    return Checkpointed(task, WrittenBlob(str(number)))


def test_results_are_written_in_their_order_and_reported_after_they_were_written() -> None:
    done: list[str] = []

    with queue(StopRequest()) as commits:
        for number in range(20):
            commits.put(
                ONE,
                lambda number=number: (time.sleep(0.001 * (number % 3)), done.append(f"write {number}")),
                lambda number=number: done.append(f"report {number}"),
            )

    assert done == [f"{what} {number}" for number in range(20) for what in ("write", "report")]


@pytest.mark.parametrize("large", [HeldBytes(memory=MOST.memory), HeldBytes(disk=MOST.disk)])
def test_a_large_result_waits_until_those_before_it_are_written(large: HeldBytes) -> None:
    begun, go, second = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        go.wait(10)

    with queue(StopRequest()) as commits:
        commits.put(large, write, nothing)
        begun.wait(10)

        def put() -> None:
            commits.put(ONE, nothing, nothing)
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
        commits.put(ONE, fail, lambda: written.append("reported"))
        commits.put(ONE, lambda: written.append("later"), nothing)

    assert stop.requested and written == []


def test_the_error_of_a_write_is_raised_by_the_next_call() -> None:
    def fail() -> None:
        raise LeaseLost(None)

    with queue(StopRequest()) as commits:
        commits.put(ONE, fail, nothing)
        with pytest.raises(LeaseLost):
            for _ in range(100):
                commits.put(ONE, nothing, nothing)
                time.sleep(0.01)


def test_a_newer_checkpoint_replaces_one_that_waits() -> None:
    first, second = TASKS[:2]
    go, kept = threading.Event(), Kept()

    with queue(StopRequest(), kept) as commits:
        commits.put(ONE, lambda: go.wait(10), nothing)
        for number in range(5):
            commits.put_state(state(first, number))
        commits.put_state(state(second, 7))
        go.set()

    assert kept.states == [state(first, 4), state(second, 7)]
    assert kept.discarded == [state(first, number) for number in range(4)]


def test_a_checkpoint_without_room_is_dropped_except_when_the_job_stops() -> None:
    first, second = TASKS[:2]
    go, kept, stop = threading.Event(), Kept(), StopRequest()

    with queue(stop, kept) as commits:
        commits.put(MOST, lambda: go.wait(10), nothing)
        commits.put_state(Checkpointed(first, b"state"))
        stop.halt()
        commits.put_state(Checkpointed(second, b"state"))
        go.set()

    assert kept.states == [Checkpointed(second, b"state")] and kept.discarded == []


def test_the_last_checkpoint_of_a_task_that_stops_is_never_dropped() -> None:
    first, second = TASKS[:2]
    go, kept = threading.Event(), Kept()

    with queue(StopRequest(), kept) as commits:
        commits.put(MOST, lambda: go.wait(10), nothing)
        commits.put_state(Checkpointed(first, b"state"))
        commits.put_state(Checkpointed(second, b"state", last=True))
        go.set()

    assert kept.states == [Checkpointed(second, b"state", last=True)]


def test_a_checkpoint_can_be_read_until_it_is_in_the_store() -> None:
    task, kept = TASKS[0], Kept()
    waiting = WaitingStates(kept)
    begun, go, result_go = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait(10)

    kept.wait = wait
    with queue(StopRequest(), waiting=waiting) as commits:
        commits.put(ONE, lambda: result_go.wait(10), nothing)
        commits.put_state(state(task, 1))
        assert waiting.newest(task) == state(task, 1), "the write of a result is before it"
        result_go.set()
        begun.wait(10)
        assert waiting.newest(task) == state(task, 1), "it is being written"
        commits.put_state(state(task, 2))
        go.set()

    assert kept.states == [state(task, 1), state(task, 2)] and waiting.newest(task) is None
    assert kept.discarded == []


def test_a_state_that_waits_in_a_temporary_file_is_read_there_and_then_in_the_store(tmp_path: Path) -> None:
    task, results = TASKS[0], Results(open_store(str(tmp_path)))
    content, go, waiting = SpooledFile(), threading.Event(), WaitingStates(results)
    content.append(b"a large state")

    with queue(StopRequest(), waiting=waiting) as commits:
        commits.put(ONE, lambda: go.wait(10), nothing)
        commits.put_state(Checkpointed(task, content))
        assert waiting.read(task) == b"a large state" and results.checkpoint(task) is None
        go.set()
        commits.drain()

        assert waiting.newest(task) is None
        assert waiting.read(task) == results.checkpoint(task) == b"a large state"


def test_only_the_newest_state_of_a_task_has_a_blob(tmp_path: Path) -> None:
    # given: a worker that has written three states before the driver has written one
    store, go = open_store(str(tmp_path)), threading.Event()
    results, stop = Results(store), StopRequest()
    taken = [Checkpointed(TASKS[0], WrittenBlob(store.put(f"state {n}".encode()))) for n in range(3)]

    with queue(stop, waiting=WaitingStates(results)) as commits:
        commits.put(MOST, lambda: go.wait(10), nothing)
        for one in taken:
            commits.put_state(one)
        go.set()

    assert results.checkpoint(TASKS[0]) == b"state 2"
    assert [Path(name).name for name in store.backend.names("blobs")] == [taken[-1].content.name]
