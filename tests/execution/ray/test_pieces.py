"""Large contents are taken out of events, sent in pieces, and put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny import plan_of

from quorate.execution.content import Content, SpooledFile, WrittenBlob
from quorate.execution.events import Checkpointed, Event, Fitted, Reported, SoFar
from quorate.execution.ray import pieces
from quorate.execution.ray.pieces import Arrivals, Piece, in_pieces

TASK = plan_of("{m: svm}").tasks[0]
LARGE, OTHER = bytes(range(256)) * 10, b"other weights" * 7


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LARGE", 80)
    monkeypatch.setattr(pieces, "PIECE", 64)


def result(**files: Content) -> Fitted:
    return Fitted(TASK, np.ones((2, 3), np.float32), [], files, 1.0, True)


def received(items: list[Event | Piece]) -> list[Event]:
    """What the driver makes of the items of a worker."""
    arrivals, events = Arrivals(), list[Event]()
    for item in items:
        if isinstance(item, Piece):
            arrivals.add(item)
        else:
            events.append(arrivals.completed(item))
    assert len(arrivals) == 0
    return events


def bytes_of(content: Content) -> bytes:
    assert not isinstance(content, WrittenBlob)
    return content.path.read_bytes() if isinstance(content, SpooledFile) else content


def test_a_result_arrives_with_the_same_bytes_and_none_of_its_messages_is_large() -> None:
    blob = WrittenBlob("ab" * 32)
    view = result(first=OTHER, second=b"small")
    sent = replace(result(header=b"{}", weights=LARGE, there=blob, exact=LARGE[:80]), others=(view,))

    items = list(in_pieces([Reported(TASK, 1, {}), sent]))

    assert isinstance(items[0], Reported) and isinstance(items[-1], Fitted)
    assert [len(item.content) for item in items[1:-1] if isinstance(item, Piece)] == [64] * 40 + [64, 27]
    assert sum(len(bytes_of(content)) for content in items[-1].files.values() if content is not blob) == 2 + 80
    _, arrived = received(items)
    assert isinstance(arrived, Fitted)
    assert arrived.files["there"] is blob
    assert [bytes_of(arrived.files[name]) for name in ("header", "weights", "exact")] == [b"{}", LARGE, LARGE[:80]]
    assert [bytes_of(content) for content in arrived.others[0].files.values()] == [OTHER, b"small"]
    large = [arrived.files["weights"], arrived.others[0].files["first"]]
    assert all(isinstance(content, SpooledFile) for content in large)


def test_states_and_interim_results_arrive_in_pieces_too() -> None:
    events = [Checkpointed(TASK, LARGE, last=True), SoFar(TASK, result(weights=OTHER)), Checkpointed(TASK, b"small")]

    state, interim, small = received(list(in_pieces(events)))

    assert isinstance(state, Checkpointed) and state.last and bytes_of(state.content) == LARGE
    assert isinstance(interim, SoFar) and bytes_of(interim.result.files["weights"]) == OTHER
    assert small == events[2]
