"""Whole jobs: from the file to leaderboard and bundle, reuse, failures, guard and quorum."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss
from tests.execution import odd_members  # noqa: F401  (registers a kind)
from tests.jobs import NET, SMALL, Here

from quorate.bundle import Bundle
from quorate.job.run import JobFailed
from quorate.registry import DATASETS
from quorate.spec.file import SpecError


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A small job that has run."""
    here = Here(tmp_path_factory.mktemp("job"))
    here.run(SMALL)
    return here


def test_the_leaderboard_has_its_documented_keys(finished: Here) -> None:
    board = finished.board()

    assert {"job", "run", "seconds", "tasks", "ensemble", "members"} <= set(board)
    assert board["tasks"] == {"total": 8, "trained": 8, "reused": 0, "failed": 0}
    assert {"combiner", "oof", "test"} <= set(board["ensemble"])
    assert [row["name"] for row in board["members"]] == ["svm", "logistic", "cnn.1", "cnn.2"]
    for row in board["members"]:
        assert {"name", "kind", "status", "weight", "temperature", "fit_seconds", "oof", "test"} <= set(row)
        assert set(row["oof"]) == set(row["test"]) == {"accuracy", "nll", "ece", "brier"}
    assert sum(row["weight"] for row in board["members"]) == pytest.approx(1, abs=1e-5)


def test_the_metrics_are_those_of_scikit_learn_on_the_saved_predictions(finished: Here) -> None:
    board, arrays = finished.board(), np.load(finished.newest_run() / "oof.npz")

    for row, proba in zip(board["members"], arrays["proba"], strict=True):
        wide = proba.astype(np.float64)
        assert row["oof"]["accuracy"] == pytest.approx(accuracy_score(arrays["y"], wide.argmax(1)), abs=1e-6)
        normalized = np.clip(wide / wide.sum(1, keepdims=True), 1e-12, 1)
        assert row["oof"]["nll"] == pytest.approx(
            log_loss(arrays["y"], normalized / normalized.sum(1, keepdims=True)), abs=1e-5
        )
    ensemble = log_loss(arrays["y"], arrays["ensemble"])
    assert board["ensemble"]["oof"]["nll"] == pytest.approx(ensemble, abs=1e-5)


def test_the_ensemble_is_never_worse_than_its_best_member(finished: Here) -> None:
    board = finished.board()

    assert board["ensemble"]["oof"]["nll"] <= min(row["oof"]["nll"] for row in board["members"])


def test_the_bundle_reproduces_the_test_predictions_of_the_job(finished: Here) -> None:
    run = finished.newest_run()
    digits = DATASETS.get("digits")
    test = digits.open(digits.Params()).test

    prediction = Bundle.load(run / "bundle").predict(test.x, members=True)

    saved = np.load(run / "test.npz")
    np.testing.assert_allclose(prediction.proba, saved["ensemble"], atol=1e-6)
    assert prediction.members is not None
    names = [row["name"] for row in finished.board()["members"]]
    for name, proba in prediction.members.items():
        np.testing.assert_allclose(proba, saved["proba"][names.index(name)], atol=1e-6)


def test_the_same_job_again_trains_nothing(finished: Here) -> None:
    before = finished.board()

    again = finished.run(SMALL)

    assert again["tasks"] == {"total": 8, "trained": 0, "reused": 8, "failed": 0}
    assert again["oof_sha256"] == before["oof_sha256"]
    assert again["ensemble"] == before["ensemble"]


def test_a_member_inserted_at_the_top_trains_alone(finished: Here) -> None:
    members = {"forest": {"kind": "random_forest", "trees": 10}, **SMALL["members"]}

    board = finished.run({**SMALL, "members": members})

    assert board["tasks"] == {"total": 10, "trained": 2, "reused": 8, "failed": 0}


def test_new_test_rows_retrain_nothing(finished: Here) -> None:
    opened = DATASETS.get("digits").open(DATASETS.get("digits").Params())
    train, folder = opened.train, finished.folder
    pixels, labels = train.x.take(np.arange(300)), train.y[:300]
    np.savez(folder / "train.npz", images=pixels, labels=labels)
    for rows, name in ((slice(300, 500), "a"), (slice(500, 900), "b")):
        positions = np.arange(len(train))[rows]
        np.savez(folder / f"{name}.npz", images=train.x.take(positions), labels=train.y[positions])
    data = {"kind": "npz", "train": "train.npz"}

    first = finished.run({**SMALL, "data": {**data, "test": "a.npz"}})
    second = finished.run({**SMALL, "data": {**data, "test": "b.npz"}})

    assert first["tasks"]["trained"] == 8
    assert second["tasks"]["trained"] == 0
    assert second["members"][0]["test"] != first["members"][0]["test"]
    fresh = Here(folder / "fresh")
    fresh.folder.mkdir()
    other = {**data, "train": str(folder / "train.npz"), "test": str(folder / "b.npz")}
    assert fresh.run({**SMALL, "data": other})["members"] == _timeless(second["members"], fresh.board()["members"])


def _timeless(rows: list[dict], like: list[dict]) -> list[dict]:
    times = ("fit_seconds", "predict_ms")
    return [{**row, **{key: other[key] for key in times}} for row, other in zip(rows, like, strict=True)]


def test_damaged_results_are_set_aside_and_trained_again(here: Here) -> None:
    job = {**SMALL, "members": {"logistic": {"kind": "logistic"}}}
    before = here.run(job)
    blobs = (here.folder / "store" / "blobs").rglob("*/*")
    model = next(path for path in blobs if path.read_bytes().startswith(b"PK\x03\x04\x14\x00\x00\x00\x08"))
    damaged = bytearray(model.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    model.write_bytes(bytes(damaged))

    again = here.run(job)

    assert again["tasks"]["trained"] == 1
    assert again["oof_sha256"] == before["oof_sha256"]
    assert any((here.folder / "store" / "damaged").iterdir())


@pytest.mark.slow
@pytest.mark.system
def test_local_and_ray_give_the_same_out_of_fold_hash(finished: Here, tmp_path: Path) -> None:
    there = Here(tmp_path)
    there.write({**SMALL, "execution": {"executor": "ray"}})

    done = there.command("train", "job.yaml", "--store", "store", "--json")

    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    assert board["tasks"]["trained"] == 8
    assert board["oof_sha256"] == finished.run(SMALL)["oof_sha256"]


def test_a_quorum_of_more_members_than_there_are_is_refused(here: Here) -> None:
    with pytest.raises(SpecError, match=r"quorum.members: 5 members are required, but the job has 4"):
        here.run({**SMALL, "quorum": {"members": 5}})


def test_a_failed_member_is_named_and_the_others_form_the_ensemble(here: Here) -> None:
    members = {
        "bad": {"kind": "odd", "what": "raise"},
        "hot": {"kind": "odd", "what": "diverge"},
        "logistic": {"kind": "logistic"},
        "svm": {"kind": "svm"},
    }

    board = here.run({**SMALL, "members": members})

    assert {row["name"]: row["status"] for row in board["members"]} == {
        "bad": "failed",
        "hot": "diverged",
        "logistic": "ok",
        "svm": "ok",
    }
    assert board["tasks"] == {"total": 8, "trained": 4, "reused": 0, "failed": 4}
    assert "member bad, copy 1, fold 1, attempt 2: failed" in here.said
    assert "this member always raises" in here.said
    log = (here.newest_run() / "logs" / "bad.fold1.log").read_text()
    assert "attempt 1 failed" in log and "odd_members.py" in log


def test_below_its_quorum_a_job_fails_and_says_what_is_missing(here: Here) -> None:
    members = {
        "bad": {"kind": "odd", "what": "raise"},
        "hot": {"kind": "odd", "what": "diverge"},
        "logistic": {"kind": "logistic"},
    }

    with pytest.raises(JobFailed) as failure:
        here.run({**SMALL, "members": members})

    assert "only 1 of 3 members have enough folds, but 2 are required; missing: bad, hot" in str(failure.value)
    assert "member hot, copy 1, fold 1: diverged" in str(failure.value)
    again = here.run({**SMALL, "members": members, "quorum": {"members": 1}})
    assert again["tasks"]["reused"] == 2


def test_a_diverged_network_is_left_out_and_named(here: Here) -> None:
    job = {
        **SMALL,
        "members": {
            "hot": {**NET, "lr": 100, "schedule": "constant", "weight_decay": 0.9},
            "logistic": {"kind": "logistic"},
        },
    }

    board = here.run(job)

    assert board["members"][0]["status"] == "diverged"
    assert board["members"][0]["weight"] == 0
    assert "learning rate" in here.said


def test_holdout_and_repeats_give_ensembles(here: Here) -> None:
    for validation in ({"scheme": "holdout", "fraction": 0.3}, {"folds": 2, "repeats": 2}):
        members = {"logistic": {"kind": "logistic"}, "svm": {"kind": "svm"}}
        board = here.run({**SMALL, "validation": validation, "members": members})
        assert board["ensemble"]["oof"]["accuracy"] > 0.8


def test_more_folds_than_rows_of_the_rarest_class_point_at_the_line(here: Here) -> None:
    with pytest.raises(SpecError) as error:
        here.run({**SMALL, "validation": {"folds": 200}})

    assert "job.yaml:" in str(error.value)
    assert "set validation.folds to" in str(error.value)


def test_a_member_that_no_machine_can_hold_is_refused_before_training(here: Here) -> None:
    with pytest.raises(SpecError, match=r"members\.svm.*requires 4096 cpus"):
        here.run({**SMALL, "members": {"svm": {"kind": "svm", "cpus": 4096}}})

    assert not (here.folder / "runs").exists()


def test_each_combiner_makes_an_ensemble_of_the_same_members(finished: Here) -> None:
    for kind in ("mean", "weighted", "best_single"):
        board = finished.run({**SMALL, "combiner": kind})
        assert board["tasks"]["trained"] == 0
        assert board["ensemble"]["combiner"] in (kind, "best_single")


def test_the_journal_of_a_reused_run_has_its_curves(finished: Here) -> None:
    finished.run(SMALL)

    lines = [json.loads(line) for line in (finished.newest_run() / "journal.jsonl").read_text().splitlines()]

    runs = [line for line in lines if line["kind"] == "run" and line["tags"].get("quorate.reused") == "true"]
    assert len(runs) == 8
    curves = [line for line in lines if line["kind"] == "metrics" and line["uid"] == "job/cnn.1/0"]
    assert [line["step"] for line in curves] == [1, 2, 3]
    assert {"train_loss", "valid_loss", "valid_accuracy", "valid_precision", "valid_recall", "lr"} <= set(
        curves[0]["values"]
    )
