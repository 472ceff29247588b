"""The errors that a diagnosis rests on are those of the run's own models and rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.jobs import Here

from quorate.diagnostics.evidence import RUNNING, gather_evidence, training_answers
from quorate.ensemble.intervals import wilson
from quorate.members.base import load_member
from quorate.plan.opening import open_data
from quorate.report.diagnosis import Evidence
from quorate.runs.folder import RunFolder
from quorate.spec import load_job

JOB: dict[str, Any] = {
    "name": "aside",
    "data": {"kind": "npz", "train": "train.npz", "test": "test.npz"},
    "validation": {"folds": 2, "train_dev": 0.2},
    "members": {
        "forest": {"kind": "random_forest", "trees": 20},
        "mlp": {"kind": "net", "arch": "mlp", "epochs": 4, "lr": 0.002, "dropout": 0.5},
        "bayes": "naive_bayes",
    },
    "combiner": "best_single",
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A finished job whose test images are darker than its training images."""
    from quorate.registry import DATASETS

    here = Here(tmp_path_factory.mktemp("aside"))
    digits = DATASETS.get("digits")
    opened = digits.open(digits.Params())
    for name, data, dark in (("train", opened.train, 1), ("test", opened.test, 3)):
        rows = np.arange(400)
        np.savez(here.folder / f"{name}.npz", images=data.x.take(rows) // dark, labels=data.y[rows])
    here.run(JOB)
    return here


@pytest.fixture(scope="module")
def found(here: Here) -> dict[str, Evidence]:
    return {e.name: e for e in gather_evidence(RunFolder(here.newest_run()), target=0.01, measure="error")}


def test_train_dev_rows_are_in_no_fold_and_no_test(here: Here) -> None:
    context = open_data(load_job(here.job_file))
    aside = np.load(here.newest_run() / "train_dev.npz")

    assert context.train_dev is not None
    assert (len(context.train), len(context.train_dev)) == (320, 80)
    rows = {bytes(row) for row in context.train_dev.x.take(np.arange(80))}
    assert not rows & {bytes(row) for row in context.train.x.take(np.arange(320))}
    assert np.bincount(context.train_dev.y).min() >= 6, "drawn by class"
    np.testing.assert_array_equal(aside["y"], context.train_dev.y)
    assert open_data(load_job(here.job_file)).train_dev.fingerprint == context.train_dev.fingerprint


def test_the_ensemble_is_scored_on_train_dev_rows_as_on_test_rows(here: Here) -> None:
    board = here.board()
    aside = np.load(here.newest_run() / "train_dev.npz")

    expected = float((aside["ensemble"].argmax(1) == aside["y"]).mean())
    assert board["ensemble"]["train_dev"]["accuracy"] == pytest.approx(expected, abs=1e-6)
    assert board["ensemble"]["train_dev"]["rows"] == 80
    assert {row["name"]: row["train_dev"] is not None for row in board["members"]} == {
        name: row["weight"] > 0 for name, row in zip(JOB["members"], board["members"], strict=True)
    }
    assert "ensemble on 80 train-dev rows: acc." in (here.newest_run() / "leaderboard.txt").read_text()


def test_training_errors_are_those_of_the_final_weights_on_their_own_rows(
    here: Here, found: dict[str, Evidence]
) -> None:
    run, context = here.newest_run(), open_data(load_job(here.job_file))
    (best,) = (row["name"] for row in here.board()["members"] if row["weight"] > 0)
    wrong = 0
    for number, fold in enumerate(context.folds.folds):
        member, rows = load_member(run / "bundle" / "members" / best / str(number)), context.train.take(fold.train)
        wrong += int((member.predict_proba(rows.x).argmax(1) != rows.y).sum())

    assert found[best].train is not None
    assert found[best].train.value == pytest.approx(wrong / 320)  # each of 320 rows trains one of two folds
    assert found[best].train.rows == 320
    assert found["ensemble"].train == found[best].train
    assert found["ensemble"].train_note == ""


def test_evidence_that_the_bundle_lacks_comes_from_the_journal_with_a_note(found: dict[str, Evidence]) -> None:
    assert found["mlp"].train_note == RUNNING
    assert found["bayes"].train_note == "", "its one figure is of the finished member"
    assert found["mlp"].curves is not None and found["mlp"].curves.epochs == 4


def test_validation_and_test_errors_are_those_of_the_leaderboard(here: Here, found: dict[str, Evidence]) -> None:
    board = here.board()
    for row in (board["ensemble"] | {"name": "ensemble"}, *board["members"]):
        e = found[row["name"]]
        assert e.valid is not None and e.test is not None
        assert e.valid.value == pytest.approx(1 - row["oof"]["accuracy"], abs=1e-6)
        assert e.test.value == pytest.approx(1 - row["test"]["accuracy"], abs=1e-6)
    losses = gather_evidence(RunFolder(here.newest_run()), target=0.0, measure="loss")
    assert losses[0].valid is not None
    assert losses[0].valid.value == pytest.approx(board["ensemble"]["oof"]["nll"], abs=1e-6)


def test_changed_data_are_detected(here: Here, tmp_path: Path) -> None:
    run = shutil.copytree(here.newest_run(), tmp_path / "run")
    job = json.loads((run / "job.json").read_text())
    job["data"]["limit"] = 200
    (run / "job.json").write_text(json.dumps(job))

    assert "the data have changed since the run" in training_answers(RunFolder(run)).note

    job["data"]["train"] = str(tmp_path / "gone.npz")
    (run / "job.json").write_text(json.dumps(job))
    assert "the job cannot be read again" in training_answers(RunFolder(run)).note


def test_a_row_predicted_by_the_models_of_several_folds_counts_once_in_the_interval(tmp_path: Path) -> None:
    # given: each of 200 rows trains three of four models, which make nearly the same mistakes
    here = Here(tmp_path)
    job = {"data": {"kind": "digits", "limit": 200}, "validation": {"folds": 4}, "members": {"bayes": "naive_bayes"}}
    here.run({"name": "repeated", **job, "execution": {"executor": "local"}, "tracking": {"enabled": False}})

    (_, bayes) = gather_evidence(RunFolder(here.newest_run()), target=0.01, measure="error")

    assert bayes.train is not None and bayes.train.rows == 600
    low, high = wilson(round(bayes.train.value * 600), 600)
    assert bayes.train.high - bayes.train.low > 1.25 * (high - low), "1.7 if they agreed in all"
