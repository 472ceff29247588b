"""What the end of the output says about a growing job."""

from __future__ import annotations

from quorate.report.growth import as_lines
from quorate.runs.leaderboard import LeaderboardGrowth, TriedMember


def tried(name: str, loss: float | None, *, added: bool = False, note: str = "") -> TriedMember:
    return TriedMember(name=name, source="copy", loss=loss, added=added, note=note)


def test_what_was_added_what_was_not_and_why_it_ended_are_said() -> None:
    rows = (
        tried("trees.2", 0.41, added=True),
        tried("knn", 0.42),
        tried("mlp", 0.405, added=True),
        tried("svm", None, note="failed: a class has one row"),
    )

    lines = as_lines(LeaderboardGrowth(loss=0.5, tried=rows, ended="the time was up"))

    assert lines == [
        "grown: 2 of 4 additions lowered the cross-fitted loss from 0.5000 to 0.4050: trees.2 (0.4100), mlp (0.4050)",
        "  brought nothing: knn",
        "  not added: svm, failed: a class has one row",
        "  ended because the time was up",
    ]


def test_a_job_that_could_not_try_anything_says_why() -> None:
    lines = as_lines(LeaderboardGrowth(loss=0.5, tried=(), ended="there was nothing left to add"))

    assert lines == ["grown: nothing was tried", "  ended because there was nothing left to add"]
