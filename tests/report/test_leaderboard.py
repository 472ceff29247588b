"""The leaderboard as a table in a terminal and as Markdown for MLflow."""

from __future__ import annotations

from typing import Any

import pytest

from quorate.report.leaderboard import as_markdown, as_text
from quorate.runs.leaderboard import (
    BestSingleMember,
    CombinerCandidate,
    Leaderboard,
    LeaderboardEnsemble,
    LeaderboardMember,
    SplitScores,
    TaskCounts,
    UnlearnableClass,
)

SCORES = SplitScores(accuracy=0.98, nll=0.05, ece=0.01, brier=0.02)


def board(names: list[str], test: SplitScores | None, *, late: str = "", **ensemble: Any) -> Leaderboard:
    """Members in the order of their out-of-fold log-loss; the member `late` has 4 of 5 folds."""
    rows = [
        LeaderboardMember(
            name=name,
            kind="gradient_boosting",
            status="out of time" if name == late else "ok",
            folds=4 if name == late else 5,
            of_folds=5,
            weight=0.25,
            temperature=1.25,
            fit_seconds=123.4,
            oof=SCORES.model_copy(update={"nll": 0.1 + i / 1000}),
            test=test,
        )
        for i, name in enumerate(names)
    ]
    return Leaderboard(
        job="job",
        tasks=TaskCounts(total=10, trained=10, reused=0, failed=0),
        ensemble=LeaderboardEnsemble(combiner="calibrated_greedy", temperature=0.9, oof=SCORES, test=test, **ensemble),
        members=tuple(rows[::-1]),
        oof_sha256="0" * 64,
        run="job-1",
        seconds=60.0,
    )


def test_the_gain_over_the_best_single_member_has_its_standard_error() -> None:
    def said(gain: float, error: float) -> str:
        best = BestSingleMember(name="svm", oof_nll=0.3, gain=gain, error=error)
        return as_text(board(["svm", "knn"], None, best_single=best))

    beyond, within, none = said(0.02, 0.005), said(-0.004, 0.005), said(0.02, 0.0)

    assert "the ensemble compared with svm alone: oof NLL -0.0200 ± 0.0098 (95 %)" in beyond and "noise" not in beyond
    assert "oof NLL +0.0040 ± 0.0098 (95 %), within noise" in within
    assert "against" not in none


def test_notes_with_class_names_in_brackets_are_shown_as_they_are() -> None:
    note = "the class [/x] :car: [bold] is held by one group"
    rare = UnlearnableClass(class_name="[/x] :car: [bold]", rows=2, folds=(1,), note=note)

    assert note in as_text(board(["svm", "knn"], None).model_copy(update={"unlearnable": (rare,)}))


def test_the_candidates_of_the_combiner_are_shown_with_the_choice() -> None:
    candidates = (
        CombinerCandidate(name="mean", loss=0.31, error=0.002, chosen=True),
        CombinerCandidate(name="stacking", loss=0.309, error=0.0, chosen=False),
    )

    lines = as_text(board(["svm", "knn"], None, candidates=candidates)).splitlines()

    (mean,) = [line for line in lines if "mean" in line]
    (stacking,) = [line for line in lines if "stacking" in line]
    assert mean.split() == ["mean", "0.3100", "+0.0010", "0.0020", "chosen"]
    assert stacking.split() == ["stacking", "0.3090"]


LONG = ["boosting_with_a_long_name.1", "convolutional_network_with_augmentation_a", "svm"]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_names_numbers_and_states_are_complete_at_every_width(width: int) -> None:
    lines = as_text(board(LONG, SCORES, late=LONG[-1]), width=width).splitlines()

    assert "…" not in "".join(lines)
    assert max(len(line.rstrip()) for line in lines) <= width
    for name, loss in zip(LONG, ("0.1000", "0.1010", "0.1020"), strict=True):
        (line,) = [line for line in lines if name in line]
        assert loss in line.split()
    assert width < 80 or sum("4/5 folds" in line for line in lines) == 1


def test_a_table_names_the_columns_that_it_has_no_room_for() -> None:
    narrow = " ".join(as_text(board(LONG, SCORES), width=80).split())
    everything = as_text(board(LONG, SCORES))

    assert "columns left out: kind," in narrow and "oof Brier" in narrow
    assert "quorate leaderboard --json" in narrow
    assert "no room" not in everything
    assert everything.count("0.0200") == 2 * (len(LONG) + 1), "Brier scores of both splits"
    assert everything.count("1.25") == len(LONG) and everything.count("123.4") == len(LONG)


def test_markdown_has_the_ensemble_first_and_then_the_best() -> None:
    lines = as_markdown(board(["a", "b", "c"], SCORES), most=2).splitlines()

    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
    assert {len(row) for row in cells} == {10}
    assert cells[2][:3] == ["**ensemble** (calibrated_greedy)", "", "0.9800"]
    assert [row[0] for row in cells[3:]] == ["a", "b"]
    assert cells[3][3] == "0.1000"
    assert lines[-1] == "1 more are in leaderboard.txt"


@pytest.mark.parametrize("test", [SCORES, None])
def test_markdown_of_a_large_team_fits_a_tag_of_mlflow(test: SplitScores | None) -> None:
    text = as_markdown(board([f"a_member_with_quite_a_name.{i}" for i in range(50)], test))

    assert ("test" in text) == (test is not None)
    assert len(text) < 5000  # the narrower of the two widths that MLflow's releases have had
