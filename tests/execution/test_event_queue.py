"""The events of a worker keep their order, and only the newest state of a task waits."""

from __future__ import annotations

import queue

import pytest
from tests.tiny import plan_of

from quorate.execution.content import WrittenBlob
from quorate.execution.event_queue import EventQueue
from quorate.execution.events import Checkpointed, Event, Reported, Stopped

FIRST, SECOND = plan_of("{m: svm}").tasks[:2]


def taken(events: EventQueue) -> list[Event | None]:
    found = []
    while not events.empty():
        found.append(events.get(0.1))
    with pytest.raises(queue.Empty):
        events.get(0.01)
    return found


def test_a_state_that_has_not_been_sent_is_replaced_by_a_newer_one_of_its_task() -> None:
    events = EventQueue()
    for event in (
        Checkpointed(FIRST, b"1"),
        Checkpointed(SECOND, b"other"),
        Reported(FIRST, 1, {}),
        Checkpointed(FIRST, b"2", last=True),
        Stopped(FIRST),
        None,
    ):
        events.put(event)

    assert taken(events) == [
        Checkpointed(FIRST, b"2", last=True),
        Checkpointed(SECOND, b"other"),
        Reported(FIRST, 1, {}),
        Stopped(FIRST),
        None,
    ]
    events.put(Checkpointed(FIRST, b"3"))
    assert taken(events) == [Checkpointed(FIRST, b"3")], "after one was sent, the next one waits for itself"


def test_the_names_of_states_in_the_store_all_reach_the_driver_which_removes_the_old_ones() -> None:
    events, states = EventQueue(), [Checkpointed(FIRST, WrittenBlob(name)) for name in ("1", "2")]
    for state in states:
        events.put(state)

    assert taken(events) == states
