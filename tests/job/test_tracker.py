"""What a job writes for MLflow: a run for each member, with its scores, costs, data and times."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from tests.jobs import NET, Here
from tests.tiny import LAPTOP, alone

from quorate.execution.events import Failed, Fitted, OutOfTime, Started
from quorate.job.tracker import Tracker
from quorate.plan.opening import open_data
from quorate.plan.planner import make_plan
from quorate.report.page.values import values_of
from quorate.report.run_report import RunInputs, read_run
from quorate.runs.folder import RunFolder
from quorate.spec import load_job
from quorate.tracking.histories import histories
from quorate.tracking.journal import Journal
from quorate.tracking.records import Status

JOB: dict[str, Any] = {
    "name": "mirrored",
    "data": {"kind": "digits", "limit": 500, "test": {"fraction": 0.3}},
    "validation": {"folds": 2},
    "members": {
        "cnn": {**NET, "copies": 2, "early_stopping": {}, "epochs": 5},
        "svm": {"kind": "svm", "C": 10},
        "bayes": {"kind": "naive_bayes"},
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}
FLOOR = 1e-12
MEMBERS = ("cnn.1", "cnn.2", "svm", "bayes")


class Written:
    """The records of a journal by the run that they are about."""

    def __init__(self, run: Path) -> None:
        lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
        self.runs = {line["uid"]: line for line in lines if line["kind"] == "run"}
        self.metrics: dict[str, dict[str, float]] = {}
        self.tags = {uid: dict(run["tags"]) for uid, run in self.runs.items()}
        for line in lines:
            if line["kind"] == "metrics" and line["step"] == 0:
                self.metrics.setdefault(line["uid"], {}).update(line["values"])
            elif line["kind"] == "tags":
                self.tags[line["uid"]].update(line["tags"])
        self.ends = {line["uid"]: line for line in lines if line["kind"] == "end"}
        self.data = {(line["uid"], line["context"]): line for line in lines if line["kind"] == "dataset"}
        self.artifacts = {(line["uid"], line["path"]) for line in lines if line["kind"] == "artifact"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    here = Here(tmp_path_factory.mktemp("mirrored"))
    here.run(JOB, pictures=True)
    return here


@pytest.fixture(scope="module")
def written(here: Here) -> Written:
    return Written(here.newest_run())


def test_each_copy_is_a_run_of_its_own_with_its_folds_below(here: Here, written: Written) -> None:
    members = {uid: run for uid, run in written.runs.items() if run["tags"]["quorate.level"] == "member"}

    assert sorted(run["name"] for run in members.values()) == ["bayes", "cnn.1", "cnn.2", "svm"]
    assert {run["parent"] for run in members.values()} == {"job"}
    assert written.runs["job"]["name"] == here.newest_run().name
    folds = [run for run in written.runs.values() if run["parent"] == "job/cnn.2"]
    assert [run["name"] for run in folds] == ["cnn.2 fold 1", "cnn.2 fold 2"]
    assert [run["params"]["fold"] for run in folds] == ["1", "2"]
    assert {written.tags[run["uid"]]["quorate.members_of"] for run in members.values()} == {here.newest_run().name}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_has_every_metric_of_the_list(here: Here, written: Written, name: str) -> None:
    found = written.metrics[f"job/{name}"]
    oof = np.load(here.newest_run() / "oof.npz")
    place = oof["members"].tolist().index(name)
    manifest = json.loads((here.newest_run() / "bundle/manifest.json").read_text())
    row = next(row for row in here.board()["members"] if row["name"] == name)

    assert {f"{split}_{score}" for split in ("oof", "test") for score in ("accuracy", "nll", "ece", "brier")} <= set(
        found
    )
    assert {"weight", "worth_nll", "fit_seconds", "predict_ms", "size_mb", "temperature"} <= set(found)
    assert found["oof_nll"] == pytest.approx(log_loss(oof["y"], sure(oof["proba"][place])), abs=2e-6)
    assert found["weight"] == pytest.approx(row["weight"], abs=1e-4)
    assert found["predict_ms"] == row["predict_ms"]
    assert found["size_mb"] > 0
    if row["weight"]:
        files = [
            here.newest_run() / "bundle" / file for file in manifest["files"] if file.startswith(f"members/{name}/")
        ]
        assert found["size_mb"] == pytest.approx(sum(file.stat().st_size for file in files) / 1e6, abs=1e-4)
    else:
        assert found["worth_nll"] == 0
        assert not (here.newest_run() / "bundle/members" / name).exists(), "its size is that of the store's files"


def sure(proba: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities as scikit-learn takes them, none below FLOOR, as log-losses of Quorate have it."""
    floored = np.maximum(proba.astype(np.float64), FLOOR)
    return np.asarray(floored / floored.sum(axis=1, keepdims=True))


def test_the_worth_of_a_member_is_the_loss_of_the_ensemble_without_it(here: Here, written: Written) -> None:
    job = load_job(here.job_file)
    context = open_data(job)
    run = read_run(RunFolder(here.newest_run()), RunInputs.of(job.spec, context.train, context.test))
    values = values_of(run)

    assert len(values.without) >= 2
    for place, change in zip(values.members, values.without, strict=True):
        found = written.metrics[f"job/{run.label(place)}"]
        assert found["worth_nll"] == pytest.approx(change.nll, abs=1e-5)
        assert found["worth_nll_error"] == pytest.approx(change.nll_error, abs=1e-5)


def test_the_run_of_the_ensemble_is_next_to_those_of_its_members(here: Here, written: Written) -> None:
    board, found = here.board(), written.metrics["ensemble"]
    weighted = [row["name"] for row in board["members"] if row["weight"]]

    assert written.runs["ensemble"]["parent"] == "job"
    assert written.tags["ensemble"]["quorate.members_of"] == here.newest_run().name
    assert found["oof_nll"] == board["ensemble"]["oof"]["nll"]
    assert found["test_accuracy"] == board["ensemble"]["test"]["accuracy"]
    assert found["weight"] == 1
    for cost in ("fit_seconds", "predict_ms", "size_mb"):
        assert found[cost] == pytest.approx(sum(written.metrics[f"job/{name}"][cost] for name in weighted), abs=1e-3)


def test_the_run_of_a_member_lasts_from_its_first_fold_to_its_last(written: Written) -> None:
    for name in MEMBERS:
        folds = [uid for uid, run in written.runs.items() if run["parent"] == f"job/{name}"]
        assert written.runs[f"job/{name}"]["start_ms"] == min(written.runs[uid]["start_ms"] for uid in folds)
        assert written.ends[f"job/{name}"]["end_ms"] == max(written.ends[uid]["end_ms"] for uid in folds)
        assert written.ends[f"job/{name}"]["end_ms"] < written.ends["job"]["end_ms"]
        assert written.ends[f"job/{name}"]["status"] == "FINISHED"


def test_members_and_ensemble_name_their_data(written: Written) -> None:
    for uid in ("job", "ensemble", *(f"job/{name}" for name in MEMBERS)):
        data = written.data[uid, "training"]
        assert (data["name"], data["source"]) == ("digits", "digits")
        assert data["profile"] == {"num_rows": 500, "height": 8, "width": 8, "channels": 1, "num_classes": 10}
        assert data["signature"] == {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]}
    assert written.data["ensemble", "testing"]["digest"] != written.data["ensemble", "training"]["digest"]


def test_host_and_process_of_a_worker_are_separate_tags_and_all_copies_have_the_pictures(
    here: Here, written: Written
) -> None:
    tags = written.tags["job/svm/0"]

    assert tags["quorate.host"] and ":" not in tags["quorate.host"]
    assert tags["quorate.worker_process"].isdecimal()
    assert {("job/cnn.1", "plots/curves-cnn.png"), ("job/cnn.2", "plots/curves-cnn.png")} <= written.artifacts
    recorded = histories(here.newest_run() / "journal.jsonl")
    assert set(recorded) == {"cnn", "svm", "bayes"}
    assert list(recorded["cnn"].histories) == ["cnn.1 fold 1", "cnn.1 fold 2", "cnn.2 fold 1", "cnn.2 fold 2"]
    assert recorded["cnn"].restored and not recorded["svm"].restored


def test_runs_of_folds_have_all_parameters_and_runs_of_members_the_comparable_ones(written: Written) -> None:
    assert set(written.runs["job/svm"]["params"]) == {"kind"}
    assert written.runs["job/svm/0"]["params"]["C"] == "10.0"
    assert set(written.runs["job/cnn.1"]["params"]) == {"kind", "arch", "epochs", "lr"}
    assert written.runs["job/cnn.1/0"]["params"]["dropout"] == "0.1"


def test_a_reused_member_is_as_long_as_its_longest_fold_was(here: Here, tmp_path: Path) -> None:
    shutil.copytree(here.folder / "store", tmp_path / "store")
    again = Here(tmp_path)

    again.run(JOB)

    written = Written(again.newest_run())
    stored = [json.loads(path.read_text())["body"] for path in (again.folder / "store/fits").rglob("*.json")]
    longest = max(fit["seconds"] for fit in stored if fit["task"].startswith("member svm,"))
    lasted = written.ends["job/svm"]["end_ms"] - written.runs["job/svm"]["start_ms"]
    assert lasted == pytest.approx(1000 * longest, abs=2)
    assert written.tags["job/svm/0"]["quorate.reused"] == "true"


def test_a_member_that_fails_is_a_failed_run(here: Here, tmp_path: Path) -> None:
    job = load_job(here.job_file)
    context = open_data(job)
    plan = make_plan(job.spec, context, alone(LAPTOP))
    mirror = Tracker(Journal(tmp_path / "journal.jsonl"), job.spec, plan, run="mirrored-1")
    first, second = plan.of("cnn.1")
    lost = plan.of("cnn.2")[0]

    mirror.on(Started(first, 1, "vm:7"))
    mirror.on(Failed(first, 1, "diverged", "NaN"))
    mirror.on(Started(second, 1, "vm:8"))
    mirror.on(Fitted(second, np.zeros((1, 10), np.float32), [{"valid_loss": 1.0}], {}, 1.0, True))
    mirror.on(Started(lost, 1, "vm:9"))
    mirror.on(OutOfTime(lost, True, "late"))
    mirror.close("FINISHED")

    written = Written(tmp_path)
    assert written.ends["job/cnn.1"]["status"] == written.ends["job/cnn.1/0"]["status"] == "FAILED"
    assert written.ends["job/cnn.1/1"]["status"] == "FINISHED"
    assert written.tags["job/cnn.1/0"]["quorate.status"] == "diverged"
    assert written.tags["job/cnn.1/1"]["quorate.host"] == "vm"
    assert written.tags["job/cnn.1/1"]["quorate.worker_process"] == "8"
    assert written.ends["job/cnn.2"]["end_ms"] == written.ends["job/cnn.2/0"]["end_ms"]
    assert written.ends["job"]["status"] == "FINISHED"


def test_the_run_of_the_job_says_where_it_ran_and_has_the_table_of_attempts(here: Here, written: Written) -> None:
    tags, table = written.tags["job"], (here.newest_run() / "timeline.csv").read_text().splitlines()

    assert (tags["quorate.cluster"], tags["quorate.nodes"], tags["quorate.hosts"]) == ("local", "1", "1")
    assert tags["quorate.node_groups"].startswith("1 node: ")
    assert "quorate.ray_version" not in tags, "it ran without Ray"
    assert (tags["quorate.attempts"], tags["quorate.lost_attempts"]) == ("8", "0")  # four members x two folds
    assert 0 <= float(tags["quorate.queue_seconds_median"]) <= float(tags["quorate.queue_seconds_longest"])
    assert ("job", "timeline.csv") in written.artifacts
    assert len(table) == 1 + 8
    assert {line.split(",")[-2] for line in table[1:]} == {"fitted"}


@pytest.mark.parametrize(("status", "exit_code"), [("FAILED", None), ("KILLED", 130)])
def test_a_job_that_fails_or_is_interrupted_has_the_table_of_its_attempts_too(
    here: Here, tmp_path: Path, status: Status, exit_code: int | None
) -> None:
    job = load_job(here.job_file)
    plan = make_plan(job.spec, open_data(job), alone(LAPTOP))
    tracker = Tracker(
        Journal(tmp_path / "journal.jsonl"), job.spec, plan, run="mirrored-1", place={"quorate.cluster": "h:6379"}
    )

    for task in plan.of("cnn.1"):
        tracker.attempted(Started(task, 1, "vm:7"))
    tracker.close(status, exit_code=exit_code)

    written = Written(tmp_path)
    assert written.tags["job"]["quorate.cluster"] == "h:6379"
    assert written.tags["job"]["quorate.attempts"] == "2"
    assert ("job", "timeline.csv") in written.artifacts
    assert (tmp_path / "timeline.csv").read_text().count(",stopped,") == 2
    assert written.ends["job"]["status"] == status


def test_a_job_without_attempts_has_no_table_of_them(here: Here, tmp_path: Path) -> None:
    job = load_job(here.job_file)
    plan = make_plan(job.spec, open_data(job), alone(LAPTOP))

    Tracker(Journal(tmp_path / "journal.jsonl"), job.spec, plan, run="mirrored-1").close("FINISHED")

    assert ("job", "timeline.csv") not in Written(tmp_path).artifacts
    assert not (tmp_path / "timeline.csv").exists()
