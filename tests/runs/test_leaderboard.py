"""The leaderboard of a run as a typed record, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from quorate.json_text import json_text
from quorate.runs.errors import LaterVersionError, RunError
from quorate.runs.leaderboard import (
    VERSION,
    Leaderboard,
    LeaderboardBudget,
    SplitScores,
    TrainDevScores,
    scores_on,
)

SCORES = {"accuracy": 0.98, "nll": 0.05, "ece": 0.01, "brier": 0.02}
BUDGET = {
    "seconds": 600.0,
    "used_seconds": 595.5,
    "rows": 80,
    "of_rows": 100,
    "folds": 4,
    "of_folds": 5,
    "below_quorum": {"members": 1, "needed": 2},
    "out_of_time": [{"member": "cnn", "fold": 5, "begun": True, "reason": "the budget is over"}],
    "stopped_early": [{"member": "cnn", "fold": 4, "epochs_done": 3, "epochs": 20, "best_epoch": None}],
    "not_counted": [{"member": "forest", "reason": "which has 1 of 5 folds (missing: folds 2-5)"}],
    "untested": ["cnn"],
    "left_out": ["report.html"],
}


def member(name: str, loss: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "net",
        "status": "ok" if loss is not None else "failed",
        "folds": 5,
        "of_folds": 5,
        "weight": 0.5,
        "temperature": None,
        "fit_seconds": 12.5,
        "predict_ms": 0.25,
        "oof": SCORES | {"nll": loss} if loss is not None else None,
        "test": None,
        "train_dev": SCORES if loss is not None else None,
    }


WHOLE: dict[str, Any] = {
    "version": 1,
    "job": "digits",
    "tasks": {"total": 10, "trained": 8, "reused": 1, "failed": 1},
    "ensemble": {
        "combiner": "auto",
        "temperature": 0.9,
        "oof": SCORES,
        "test": None,
        "best_single": {"name": "svm", "oof_nll": 0.06, "gain": 0.01, "error": None},
        "note": None,
        "candidates": [
            {"name": "mean", "loss": 0.05, "error": 0.001, "chosen": True},
            {"name": "stacking", "loss": 0.049, "error": 0.0, "chosen": False},
        ],
        "production": None,
        "train_dev": SCORES | {"rows": 40},
    },
    "members": [member("cnn", 0.07), member("forest", None), member("svm", 0.06)],
    "unlearnable": [{"class": "rare", "rows": 3, "folds": [1, 2], "note": "the class rare has too few rows"}],
    "oof_sha256": "0" * 64,
    "run": "digits-20260105-101500",
    "seconds": 93.33,
    "budget": BUDGET,
}
"""All names that scripts read, in the order of the file."""

FIRST: dict[str, Any] = {
    "job": "digits",
    "tasks": {"total": 1, "trained": 1, "reused": 0, "failed": 0},
    "ensemble": {
        "combiner": "greedy",
        "temperature": 0.9,
        "oof": SCORES,
        "test": SCORES,
        "best_single": {"oof_nll": 0.06},
        "note": None,
    },
    "members": [
        {
            "name": "svm",
            "kind": "svm",
            "status": "ok",
            "weight": 1.0,
            "temperature": 1.0,
            "fit_seconds": 0.8,
            "oof": SCORES,
            "test": SCORES,
        }
    ],
    "oof_sha256": "0" * 64,
    "run": "digits-20251123-222500",
    "seconds": 3.21,
}
"""A file of the first version of Quorate, without later keys."""


def written(folder: Path, content: Any) -> Path:
    path = folder / "leaderboard.json"
    path.write_text(content if isinstance(content, str) else json_text(content), encoding="utf-8")
    return path


def test_a_leaderboard_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)

    board = Leaderboard.read(path)

    assert board.to_text() == path.read_text(encoding="utf-8")
    assert board.ensemble.chosen == "mean"
    assert [row.name for row in board.ranked] == ["svm", "cnn", "forest"]
    assert board.unlearnable[0].class_name == "rare"
    assert board.budget is not None and board.budget.stopped_early[0].epochs == 20


def test_a_file_of_the_first_version_is_read_and_gains_only_its_version(tmp_path: Path) -> None:
    board = Leaderboard.read(written(tmp_path, FIRST))

    assert board.budget is None and board.unlearnable == () and board.ensemble.candidates == ()
    assert board.ensemble.chosen is None
    assert board.members[0].folds is None and board.members[0].predict_ms is None
    assert board.ensemble.best_single is not None and board.ensemble.best_single.gain is None
    assert list(json.loads(board.to_text()).items()) == [("version", VERSION), *FIRST.items()]


def test_a_budget_of_the_first_version_has_no_folds(tmp_path: Path) -> None:
    later = ("folds", "of_folds", "below_quorum", "untested", "left_out")
    first = {key: value for key, value in BUDGET.items() if key not in later}

    budget = Leaderboard.read(written(tmp_path, FIRST | {"budget": first})).budget

    assert budget is not None
    assert (budget.folds, budget.below_quorum, budget.untested, budget.left_out) == (None, None, (), ())


def test_a_later_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE | {"version": VERSION + 1, "members": "in another file"})

    with pytest.raises(LaterVersionError) as refused:
        Leaderboard.read(path)

    assert str(refused.value) == (
        f"{path} has version 2, but this Quorate reads versions up to 1; read it with the version of Quorate that "
        "wrote it, or a later one"
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"ensemble": ',
        json_text({"ensemble": {}, "members": []}),
        json_text(WHOLE | {"version": "one"}),
        json_text(WHOLE | {"seconds": None}),
        json_text(WHOLE | {"members": [{"name": "svm"}]}),
        json_text(WHOLE | {"members": [member("svm", 0.1) | {"status": "fine"}]}),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, content)

    with pytest.raises(RunError) as damaged:
        Leaderboard.read(path)

    assert not isinstance(damaged.value, LaterVersionError)
    assert str(damaged.value) == (f"{path} is damaged; start the job again; finished work is reused from the store")


def test_a_missing_or_binary_file_is_reported_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "leaderboard.json").write_bytes(b"\xff\xfe\x00")

    for path in (tmp_path / "leaderboard.json", tmp_path / "gone.json"):
        with pytest.raises(RunError, match="is damaged"):
            Leaderboard.read(path)


def test_a_leaderboard_does_not_change_and_its_changes_are_copies(tmp_path: Path) -> None:
    board = Leaderboard.read(written(tmp_path, FIRST))

    with pytest.raises(ValidationError):
        board.seconds = 1.0  # type: ignore[misc]
    later = board.with_budget(LeaderboardBudget.model_validate(BUDGET))
    later = later.with_closing(used_seconds=599.9, left_out=("pictures",))
    later = later.with_train_dev(TrainDevScores(**SCORES, rows=40), {"svm": SplitScores(**SCORES)})

    assert board.budget is None and board.ensemble.train_dev is None
    assert later.budget is not None and (later.budget.used_seconds, later.budget.left_out) == (599.9, ("pictures",))
    found = json.loads(later.to_text())
    assert found["ensemble"]["train_dev"] == SCORES | {"rows": 40}
    assert found["members"][0]["train_dev"] == SCORES
    assert found["budget"] == BUDGET | {"used_seconds": 599.9, "left_out": ["pictures"]}


def test_scores_are_found_by_the_names_of_rows_and_metrics(tmp_path: Path) -> None:
    board = Leaderboard.read(written(tmp_path, WHOLE))

    assert scores_on(board.ensemble, "test") is None
    for row in (board.ensemble, board.ranked[0]):
        found = scores_on(row, "train_dev")
        assert found is not None and found.by_name == SCORES and found.metric("ece") == 0.01
