"""Jobs with a class that some fold cannot learn: its rows are reported and do not count, from the plan to the
report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss
from tests.jobs import Here, runner_with

from quorate.compress.distillation import DistillationSettings, distill, student_job
from quorate.compress.pruning import prune, pruning_path
from quorate.diagnostics.evidence import gather_evidence
from quorate.ensemble.paired import read_groups, standard_error
from quorate.job.bundle_files import losses_file
from quorate.report.leaderboard import as_text
from quorate.runs.finished import reopen
from quorate.runs.folder import RunFolder
from quorate.spec.file import SpecError

JOB: dict[str, Any] = {
    "name": "visits",
    "data": {"kind": "csv", "train": "visits.csv", "label": "label", "groups": "patient"},
    "validation": {"scheme": "kfold", "folds": 3},
    "members": {
        "linear": {"kind": "logistic"},
        "forest": {"kind": "random_forest", "trees": 20, "min_samples_leaf": 3},
        "neighbours": {"kind": "knn"},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


def visits(rows: int = 150) -> pd.DataFrame:
    """Rows of six patients; the first has the class `rare`, and nobody else; two features tell the classes."""
    rng = np.random.default_rng(0)
    patient = np.arange(rows) % 6
    label = np.where(patient == 0, "rare", np.array(["a", "b"])[rng.integers(0, 2, rows)])
    centre = pd.Series(label).map({"rare": 0.0, "a": 2.0, "b": -2.0}).to_numpy()
    return pd.DataFrame(
        {
            "x": centre + rng.normal(size=rows),
            "w": (label == "rare") * 3 + rng.normal(size=rows),
            "label": label,
            "patient": patient,
            "day": np.arange(rows),
        }
    )


def job(folder: Path, frame: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    frame.to_csv(folder / "visits.csv", index=False)
    data = {**JOB["data"], "train": str(folder / "visits.csv"), "columns": {"day": "ignore"}}
    return {**JOB, "data": data, **changes}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("rare"))
    here.run(job(here.folder, visits()), pictures=True)
    return here


def strict(text: str) -> Any:
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_unlearnable_rows_are_reported_and_do_not_count(here: Here) -> None:
    board, run = here.board(), RunFolder(here.newest_run())
    saved = run.arrays("oof.npz")

    (out,) = board["unlearnable"]
    counting = saved["learnable"]
    np.testing.assert_array_equal(counting, visits()["label"] != "rare")
    assert (out["class"], out["rows"], len(out["folds"])) == ("rare", 25, 1)
    said = (
        f"class rare has rows in only one group, which the models of fold {out['folds'][0]} do not train on; "
        "25 rows do not count in the selection and the scores"
    )
    assert out["note"] == said and said in here.said
    assert said in " ".join(as_text(run.board()).split())
    assert said[1:] in (run.path / "report.html").read_text(encoding="utf-8")
    # every row has its prediction, and the figures are of those that count
    assert saved["mask"].all()
    y = saved["y"]
    for row, proba in zip(board["members"], saved["proba"], strict=True):
        assert row["oof"]["accuracy"] == pytest.approx(accuracy_score(y[counting], proba[counting].argmax(axis=1)))
        assert log_loss(y, proba, labels=[0, 1, 2]) > row["oof"]["nll"] + 0.5
    assert board["ensemble"]["oof"]["nll"] == pytest.approx(
        log_loss(y[counting], saved["ensemble"][counting], labels=[0, 1, 2]), abs=1e-6
    )
    assert np.isnan(saved["ensemble"][~counting]).all()
    best = max(row["oof"]["accuracy"] for row in board["members"])
    assert board["ensemble"]["oof"]["accuracy"] > best - 0.05
    assert board["ensemble"]["best_single"]["name"] == min(board["members"], key=lambda row: row["oof"]["nll"])["name"]


def test_diagnosis_pruning_and_distilling_leave_the_same_rows_out(here: Here, tmp_path: Path) -> None:
    run, board = RunFolder(here.newest_run()), here.board()

    for found, row in zip(gather_evidence(run, target=0.0, measure="error")[1:], board["members"], strict=True):
        assert found.valid is not None and found.valid.rows == 125
        assert found.valid.value == pytest.approx(1 - row["oof"]["accuracy"], abs=1e-6)
    distilled = distill(
        reopen(run),
        student_job(run, arch="{kind: mlp, hidden: [8]}", epochs=3, overrides=()),
        DistillationSettings(),
        tmp_path / "s",
        runner_with(tmp_path / "store"),
    )
    assert distilled["training"]["rows_with_teacher"] <= 125
    assert "rare" not in set(visits()["label"].iloc[np.flatnonzero(np.isfinite(losses_of(tmp_path / "s")))])
    strict((tmp_path / "s" / "distillation.json").read_text(encoding="utf-8"))
    if sum(bool(row["weight"]) for row in board["members"]) > 1:
        asked = pruning_path(run)
        assert asked.rows == 125
        assert prune(run, asked, asked.steps[-1], tmp_path / "p")["metrics"]["oof"]["nll"] < 2


def losses_of(bundle: Path) -> np.ndarray:
    with np.load(bundle / "losses.npz") as arrays:
        return np.asarray(arrays["loss"])


def test_the_standard_error_of_the_gain_and_the_bundle_know_the_patients(here: Here) -> None:
    run = RunFolder(here.newest_run())

    groups = read_groups(run.bundle / "losses.npz")

    assert groups is not None
    np.testing.assert_array_equal(np.unique(groups, return_inverse=True)[1], visits()["patient"])
    losses = losses_of(run.bundle)
    known = np.isfinite(losses)
    assert standard_error(losses[known], groups=groups[known]) > 0
    assert losses_file(losses, groups)


@pytest.mark.parametrize(
    ("data", "validation", "words"),
    [
        ({"groups": None, "time": "day", "columns": {"patient": "ignore"}}, {"folds": 3}, "has no training rows in"),
        ({}, {"repeats": 2}, "has rows in only one group"),
    ],
    ids=["a class that appears late", "repeats"],
)
def test_other_causes_of_unlearnable_rows_are_handled(data, validation, words, tmp_path: Path) -> None:
    frame = visits()
    if "time" in data:  # the last third of the days has the class, some fold is the first to see it
        frame["label"] = np.where((frame["label"] == "rare") & (frame["day"] < 100), "a", frame["label"])
    wanted = job(tmp_path, frame)
    wanted["data"] |= data
    wanted["validation"] = {**wanted["validation"], **validation}
    here = Here(tmp_path)

    board = here.run(wanted)

    (out,) = board["unlearnable"]
    assert words in out["note"] and out["note"] in here.said and out["class"] == "rare"
    assert all(row["oof"]["nll"] < 2 for row in board["members"])
    strict((here.newest_run() / "leaderboard.json").read_text(encoding="utf-8"))


def test_a_class_of_one_row_in_one_group_is_left_out_too(tmp_path: Path) -> None:
    frame = visits()
    frame["label"] = np.where((frame["label"] == "rare") & (frame.index > 0), "a", frame["label"])

    board = Here(tmp_path).run(job(tmp_path, frame))

    assert [(out["class"], out["rows"]) for out in board["unlearnable"]] == [("rare", 1)]
    assert "1 row does not count" in board["unlearnable"][0]["note"]


def test_folds_with_hardly_any_learnable_rows_are_refused_before_training(tmp_path: Path) -> None:
    # given: the one held-out fold is of the patient whose class nobody else has
    frame = visits()
    frame["day"] = np.where(frame["label"] == "rare", 1, 0)
    wanted = job(tmp_path, frame, validation={"scheme": "holdout", "fraction": 0.1})
    wanted["data"] |= {"groups": None, "time": "day", "columns": {"patient": "ignore"}}

    with pytest.raises(
        SpecError, match=r"0 of the 25 validation rows count.*class rare has no training rows in fold 1"
    ):
        Here(tmp_path).run(wanted)
