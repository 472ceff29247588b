"""The table of many schedules."""

from __future__ import annotations

import json

from tests.chaos.injector import Outcome
from tests.chaos.recovery import GivenFault, Recovery
from tests.chaos.schedule import PlannedFault, Schedule
from tests.chaos.table import summary


def outcome(seed: int, name: str, seconds: float, *, repeated: int, problem: str = "") -> Outcome:
    planned = PlannedFault(1.0, name, 0, 0.0)
    recovery = Recovery("cnn fold 1", seconds, seconds - 1)
    given = (GivenFault(planned, 0.0, ("cnn fold 1",)),)
    return Outcome(Schedule(seed, (planned,)), problem, 9.0, None, given, ((recovery,),), (repeated,), 8.0, 8.0)


def test_the_table_has_the_medians_and_the_seeds_that_failed() -> None:
    found = [
        outcome(4, "worker killed", 3.0, repeated=1),
        outcome(5, "worker killed", 5.0, repeated=0),
        outcome(6, "worker exit", 9.0, repeated=2, problem="it ended with code 1"),
    ]

    result = summary(found)

    assert (result.same_bits, result.failed_seeds, result.most_repeated) == (2, (6,), 2)
    text = result.to_markdown()
    assert "2 of 3 schedules (seeds 4 to 6)" in text and "trained 1.00 epochs again on average and 2 at most" in text
    assert "| worker killed | 2 | 2 | 3.0 | 4.0 | 5.0 |" in text
    assert "| **all of a worker** | 3 | 3 | 4.0 | 5.0 | 9.0 |" in text
    assert json.loads(result.to_json())["rows"][0]["worst_seconds"] == 5.0
