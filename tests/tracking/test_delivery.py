import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from tests.tracking.runs import begin, runs_by_uid, write_bundle

from quorate.tracking import journal
from quorate.tracking.attempts import UnreachableError
from quorate.tracking.delivery import Delivery, open_delivery
from quorate.tracking.journal import Journal
from quorate.tracking.position import Position


def deliver(run: Path, uri: str, position: Position | None = None, offset: int = 0) -> Delivery:
    path = run / "journal.jsonl"
    header = journal.header(path)
    assert header is not None
    delivery = open_delivery(uri, run, header, position or Position())
    delivery.deliver(journal.read(path, offset)[0])
    return delivery


def write_tree(run: Path) -> None:
    run.mkdir(exist_ok=True)
    (run / "board.csv").write_text("member,nll\n")
    (run / "plots").mkdir(exist_ok=True)
    (run / "plots" / "curve.svg").write_text("<svg/>")
    with Journal(run / "journal.jsonl", experiment="digits", source="quorate train") as notes:
        begin(notes, "job", seed=7)
        notes.dataset("job", name="digits", source="/data", digest="a" * 64, profile={"rows": 5}, context="training")
        for member in ("svm", "cnn"):
            begin(notes, f"job/{member}", "job", kind=member, rate=0.01)
            begin(notes, f"job/{member}/0/1", f"job/{member}")
            for epoch in range(3):
                notes.metrics(f"job/{member}/0/1", epoch, {"loss": 1 / (epoch + 1)}, timestamp_ms=50 + epoch)
            notes.metrics(f"job/{member}/0/1", 3, {"loss": float("nan"), "rate": float("inf")}, timestamp_ms=60)
            notes.end(f"job/{member}/0/1", "FINISHED", 3_000)
            notes.end(f"job/{member}", "FAILED" if member == "cnn" else "FINISHED", 4_000)
        notes.tags("job", {"quorum": "met"})
        notes.artifact("job", run / "board.csv")
        notes.artifact("job", run / "plots", "report")
        notes.end("job", "FINISHED", 5_000)


def test_the_tree_of_a_job_arrives(uri: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_tree(run)

    delivery = deliver(run, uri)

    assert delivery.position.refused == []
    assert delivery.position.open == []
    runs, client = runs_by_uid(uri, "digits"), MlflowClient(uri)
    parents = {uid: run.data.tags.get("mlflow.parentRunId") for uid, run in runs.items()}
    ids = {uid: run.info.run_id for uid, run in runs.items()}
    assert parents == {
        "job": None,
        "job/svm": ids["job"],
        "job/cnn": ids["job"],
        "job/svm/0/1": ids["job/svm"],
        "job/cnn/0/1": ids["job/cnn"],
    }
    job = runs["job"]
    assert job.info.run_name == "run job"
    assert (job.info.status, job.info.start_time, job.info.end_time) == ("FINISHED", 1_000, 5_000)
    assert runs["job/cnn"].info.status == "FAILED"
    assert runs["job/svm"].data.params == {"kind": "svm", "rate": "0.01"}
    assert job.data.tags["quorum"] == "met"
    assert job.data.tags["mlflow.source.name"] == "quorate train"
    assert job.data.tags["mlflow.user"] != ""
    losses = client.get_metric_history(ids["job/svm/0/1"], "loss")
    assert [(one.step, one.timestamp) for one in losses] == [(0, 50), (1, 51), (2, 52), (3, 60)]
    assert [one.value for one in losses[:3]] == [1, 1 / 2, 1 / 3]
    assert math.isnan(losses[3].value)
    (dataset,) = job.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("digits", "a" * 36)
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "training")]
    assert [file.path for file in client.list_artifacts(ids["job"])] == ["board.csv", "report"]
    assert [file.path for file in client.list_artifacts(ids["job"], "report/plots")] == ["report/plots/curve.svg"]


def test_a_journal_that_is_sent_again_from_the_start_adds_nothing(uri: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_tree(run)
    first = deliver(run, uri).position

    second = deliver(run, uri).position  # as after the loss of shipped.json

    assert second.runs == first.runs
    runs, client = runs_by_uid(uri, "digits"), MlflowClient(uri)
    assert len(runs) == 5
    for uid in ("job/svm/0/1", "job/cnn/0/1"):
        assert len(client.get_metric_history(runs[uid].info.run_id, "loss")) == 4
        assert len(client.get_metric_history(runs[uid].info.run_id, "rate")) == 1
    assert len(runs["job"].inputs.dataset_inputs) == 1
    assert runs["job"].info.status == "FINISHED"


def test_records_after_a_refused_one_are_still_sent(uri: str, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as notes:
        notes.run(
            "job",
            name="x" * 300,
            parent="never/began",
            tags={"long": "t" * 9_000},
            params={"good": 1, "bad?name": 2, "long": "p" * 9_000},
            start_ms=1,
        )
        notes.metrics("job", 0, {f"m{i}": i for i in range(30)} | {"precision@1": 0.5}, timestamp_ms=1)
        notes.metrics("ghost", 0, {"loss": 1.0}, timestamp_ms=1)
        notes.artifact("job", tmp_path / "missing.png")
        notes.end("job", "FINISHED", 2)

    refused = deliver(tmp_path, uri).position.refused

    job = runs_by_uid(uri)["job"]
    assert job.data.params == {"good": "1", "long": "p" * 6_000}
    assert job.data.tags["long"] == "t" * 8_000
    assert job.data.metrics == {f"m{i}": i for i in range(30)}
    assert job.info.status == "FINISHED"
    assert [(entry.uid, entry.what) for entry in refused] == [
        ("job", "param bad?name"),
        ("job", "metric precision@1"),
        ("ghost", "1 metrics"),
        ("job", "artifact missing.png"),
    ]
    assert "Names may only contain" in refused[1].reason
    assert "missing.png does not exist" in refused[3].reason


def test_a_run_deleted_in_mlflow_is_not_retried(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    notes = Journal(path)
    begin(notes, "job")
    begin(notes, "job/cnn", "job")
    position = deliver(tmp_path, uri).position
    offset = path.stat().st_size
    MlflowClient(uri).delete_run(position.runs["job/cnn"])

    notes.metrics("job/cnn", 0, {f"m{i}": i for i in range(100)})
    notes.metrics("job", 0, {"loss": 1.0})
    notes.close()
    deliver(tmp_path, uri, position, offset)

    assert [(entry.uid, entry.what) for entry in position.refused] == [("job/cnn", "100 metrics")]
    assert runs_by_uid(uri)["job"].data.metrics == {"loss": 1.0}


def test_a_restarted_job_continues_its_runs(uri: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        begin(notes, "job", seed=7)
        notes.end("job", "KILLED", 2_000)
    first = deliver(tmp_path, uri).position
    offset = path.stat().st_size

    with Journal(path) as notes:
        begin(notes, "job", seed=7)
    deliver(tmp_path, uri, first, offset)

    assert first.refused == []
    assert first.open == ["job"]
    assert runs_by_uid(uri)["job"].info.status == "RUNNING"


def test_runs_without_an_end_are_killed_when_the_job_is_gone(uri: str, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as notes:
        begin(notes, "job")
        begin(notes, "job/cnn", "job")
        notes.end("job/cnn", "FINISHED", 2_000)
    delivery = deliver(tmp_path, uri)

    delivery.kill_open()

    assert {uid: run.info.status for uid, run in runs_by_uid(uri).items()} == {
        "job": "KILLED",
        "job/cnn": "FINISHED",
    }
    assert delivery.position.open == []


def test_more_values_than_one_call_takes_all_arrive(uri: str, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as notes:
        begin(notes, "job", **{f"p{i}": i for i in range(250)})
        for step in range(1_200):
            notes.metrics("job", step, {"loss": step, "accuracy": step / 2}, timestamp_ms=step)

    position = deliver(tmp_path, uri).position

    client, run_id = MlflowClient(uri), position.runs["job"]
    assert len(client.get_run(run_id).data.params) == 250
    for metric in ("loss", "accuracy"):
        assert len(client.get_metric_history(run_id, metric)) == 1_200


def test_a_deleted_experiment_loses_no_records_and_the_error_says_how_to_restore_it(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    identifier = client.create_experiment("quorate")
    client.delete_experiment(identifier)
    with Journal(tmp_path / "journal.jsonl") as notes:
        begin(notes, "job")

    with pytest.raises(UnreachableError, match=f"restore --experiment-id {identifier}"):
        deliver(tmp_path, uri)

    client.restore_experiment(identifier)
    deliver(tmp_path, uri)
    assert list(runs_by_uid(uri)) == ["job"]


def test_with_a_server_that_is_down_no_records_are_lost(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_tree(tmp_path)

    with pytest.raises(UnreachableError, match=r"http://127\.0\.0\.1:9/"):
        deliver(tmp_path, "http://ada:secret@127.0.0.1:9")

    position = deliver(tmp_path, uri).position
    assert position.refused == []
    assert len(position.runs) == 5


def test_a_data_set_has_the_schema_of_its_rows(uri: str, tmp_path: Path) -> None:
    columns = [{"name": "age", "kind": "numeric"}, {"name": "club", "kind": "boolean"}]
    signatures = {
        "table": {"kind": "table", "columns": columns},
        "image": {"kind": "image", "dtype": "uint8", "shape": [8, 8, 1]},
    }
    with Journal(tmp_path / "journal.jsonl") as notes:
        begin(notes, "job")
        for name, signature in signatures.items():
            notes.dataset(
                "job", name=name, source=f"/{name}", digest=name, profile={}, context="training", signature=signature
            )

    assert deliver(tmp_path, uri).position.refused == []

    found = {one.dataset.name: json.loads(one.dataset.schema) for one in runs_by_uid(uri)["job"].inputs.dataset_inputs}
    assert [(column["name"], column["type"]) for column in found["table"]["mlflow_colspec"]] == [
        ("age", "double"),
        ("club", "string"),
    ]
    assert json.loads(found["image"]["mlflow_tensorspec"]["features"])[0]["tensor-spec"]["shape"] == [-1, 8, 8, 1]


def test_a_journal_of_a_former_version_arrives_once(uri: str, tmp_path: Path) -> None:
    # given: as Quorate 0.1 wrote it, one run for all copies, data and model without what is shown of them today
    write_bundle(tmp_path / "bundle", np.ones(9))
    lines: list[dict[str, Any]] = [
        {"kind": "header", "version": 1, "run": "7e11", "experiment": "quorate", "user": "ada", "source": "quorate"},
        {"kind": "run", "uid": "job", "name": "old", "parent": None, "tags": {"quorate.level": "job"}, "params": {}},
        {"kind": "dataset", "uid": "job", "name": "old training", "source": "digits", "digest": "fdeb"},
        {"kind": "run", "uid": "job/cnn", "name": "cnn", "parent": "job", "tags": {"quorate.level": "member"}},
        {"kind": "run", "uid": "job/cnn/0/0", "name": "cnn.1 fold 1", "parent": "job/cnn", "tags": {}},
        {"kind": "tags", "uid": "job/cnn/0/0", "tags": {"quorate.worker": "vm:10418", "quorate.attempt": "1"}},
        {"kind": "metrics", "uid": "job/cnn", "step": 0, "values": {"copy_1_oof_nll": 0.2}, "timestamp_ms": 3},
        {"kind": "model", "uid": "job", "bundle": "bundle", "name": "old"},
        {"kind": "end", "uid": "job/cnn/0/0", "status": "FINISHED", "end_ms": 5},
        {"kind": "end", "uid": "job/cnn", "status": "FINISHED", "end_ms": 6},
        {"kind": "end", "uid": "job", "status": "FINISHED", "end_ms": 7},
        {"kind": "close"},
    ]
    fill = {"run": {"params": {}, "start_ms": 1}, "dataset": {"profile": {"rows": 9}, "context": "training"}}
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps({**fill.get(line["kind"], {}), **line}) + "\n" for line in lines))

    for _ in range(2):  # the second time from the start, as after the loss of shipped.json
        assert deliver(tmp_path, uri).position.refused == []

    runs, client = runs_by_uid(uri), MlflowClient(uri)
    assert set(runs) == {"job", "job/cnn", "job/cnn/0/0"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(client.get_metric_history(runs["job/cnn"].info.run_id, "copy_1_oof_nll")) == 1
    (version,) = client.search_model_versions("name = 'old'")
    assert version.tags["quorate.champion"].startswith("became champion on 20")
