"""The lines on the budget at the end of a job."""

from __future__ import annotations

import pytest

from quorate.report.budget import as_lines, format_duration, ranges
from quorate.runs.leaderboard import LateTask, LeaderboardBudget, QuorumShortfall, StoppedTask, UncountedMember

AMPLE = LeaderboardBudget(
    seconds=3600.0, used_seconds=85.4, rows=1347, of_rows=1347, folds=5, of_folds=5,
    out_of_time=(), stopped_early=(), not_counted=(),
)  # fmt: skip


def test_an_ample_budget_takes_one_line():
    assert as_lines(AMPLE, "digits-1") == ["budget 60 min, used 85 s"]


def test_skipped_and_stopped_tasks_are_named():
    late = [LateTask(member="cnn.1", fold=fold, begun=False, reason="no time") for fold in (3, 2, 5)]
    part = LeaderboardBudget(
        seconds=3600.0,
        used_seconds=85.4,
        rows=270,
        of_rows=1347,
        folds=1,
        of_folds=5,
        below_quorum=QuorumShortfall(members=1, needed=2),
        out_of_time=(*late, LateTask(member="forest", fold=5, begun=True, reason="too slow")),
        stopped_early=(
            StoppedTask(member="cnn.1", fold=1, epochs_done=7, epochs=20, best_epoch=6),
            StoppedTask(member="cnn.1", fold=4, epochs_done=2, epochs=20, best_epoch=None),
        ),
        not_counted=(UncountedMember(member="forest", reason="which has 4 of 5 folds (missing: fold 5)"),),
        untested=("cnn.1",),
        left_out=("train_dev", "pictures", "report.html"),
    )

    assert as_lines(part, "digits-1") == [
        "budget 60 min, used 85 s",
        "  below the quorum: members ready in time: 1; required: 2",
        "  no time for: cnn.1 folds 2-3, 5, forest fold 5",
        "  stopped early: cnn.1 fold 1 after 7 of 20 epochs (best: 6), cnn.1 fold 4 after 2 of 20 epochs, none of "
        "them with labels",
        "  not in the ensemble: forest, which has 4 of 5 folds (missing: fold 5)",
        "  the combination was fitted on 1 of 5 folds, 270 of 1,347 rows",
        "  no time to predict the test rows: cnn.1; run `quorate evaluate DATA --run digits-1`, or start the job again "
        "without a budget",
        "  no time for the metrics on the train-dev rows: start the job without a budget to get them",
        "  no time for all pictures: `quorate curves --run digits-1` draws the learning curves",
        "  no time for the report: `quorate report --run digits-1` writes it",
        "  start the job again with more time to continue from here",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (119.6, "2 min"), (200, "3 min 20 s"), (7199.9, "2 h"), (7500, "2 h 5 min")],
)
def test_times_are_written_in_at_most_two_units(seconds, said):
    assert format_duration(seconds) == said


def test_consecutive_numbers_are_written_as_a_range():
    assert ranges([1, 3, 4, 5, 9]) == "1, 3-5, 9"
    assert ranges([]) == ""
