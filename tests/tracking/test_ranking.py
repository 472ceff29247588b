"""The list of a run's members as a page of MLflow: its address, what it shows, and which run is the newest there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.tracking.test_delivery import deliver

from quorate.cli.ui import ui
from quorate.tracking import journal, position
from quorate.tracking.journal import Journal
from quorate.tracking.ranking import MEMBERS_OF, address, newest, search, view


def write_run(folder: Path, *, name: str, ranked: bool = True) -> Path:
    """A run folder with two members of different losses, and the view of them."""
    folder.mkdir(parents=True)
    with Journal(folder / "journal.jsonl") as notes:
        notes.run("job", name=name, parent=None, tags={"quorate.level": "job"}, params={}, start_ms=1)
        for member, loss in (("svm", 0.5), ("cnn.2", 0.1)):
            tags = {MEMBERS_OF: name}
            notes.run(f"job/{member}", name=member, parent="job", tags=tags, params={"kind": "x"}, start_ms=2)
            notes.metrics(f"job/{member}", 0, {"oof_nll": loss}, timestamp_ms=3)
            notes.run(f"job/{member}/0", name="fold", parent=f"job/{member}", tags={}, params={}, start_ms=2)
        if ranked:
            notes.ranking("job", run=name)
        notes.end("job", "FINISHED", 9)
    return folder


def test_the_search_of_a_view_finds_the_members_of_its_run_and_sorts_them(uri: str, tmp_path: Path) -> None:
    for name in ("first-1", "second-2"):
        delivery = deliver(write_run(tmp_path / name, name=name), uri)

    client = MlflowClient(uri)
    experiment = client.get_experiment(delivery.position.experiment_id)
    state = json.loads(experiment.tags["mlflow.sharedViewState.second-2"])
    order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
    found = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[order])

    assert [run.info.run_name for run in found] == ["cnn.2", "svm"]
    runs = runs_by_uid_of(found)
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {runs["job/svm"].data.tags["mlflow.parentRunId"]}
    assert "mlflow.sharedViewState.first-1" in experiment.tags
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_damaged_journal_does_not_hide_the_other_runs(tmp_path: Path) -> None:
    uri = "http://mlflow:5000"
    sound = write_run(tmp_path / "sound-1", name="sound-1")
    path = sound / "journal.jsonl"
    os.utime(path, (0, 0))
    header = journal.header(path)
    assert header is not None
    position.save(sound, uri, position.Position(header.run, path.stat().st_size, experiment_id="3"))
    damaged = write_run(tmp_path / "damaged-2", name="damaged-2") / "journal.jsonl"
    damaged.write_text(damaged.read_text().replace('"version": 1', '"version": "x"'))

    assert newest(tmp_path, uri) == ("sound-1", "3")


def runs_by_uid_of(found: Any) -> dict[str, Any]:
    return {run.data.tags["quorate.uid"]: run for run in found}


def test_a_view_shows_what_is_logged_and_its_address_names_it() -> None:
    tag, value = view("digits-1")
    state = json.loads(value)

    assert tag == "mlflow.sharedViewState.digits-1"
    assert state["searchFilter"] == search("digits-1") == "tags.`quorate.members_of` = 'digits-1'"
    lines, *bars = state["compareRunCharts"]
    shown = {*lines["selectedMetrics"], *(bar["metricKey"] for bar in bars)}
    assert shown <= {column.partition(".")[2].strip("`") for column in state["selectedColumns"]}
    page = "http://mlflow:5000/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=digits-1"
    assert address("http://mlflow:5000/", "3", "digits-1") == page
    assert address("http://mlflow:5000", "3", "digits-1", charts=True) == f"{page}&compareRunsMode=CHART"


def test_a_view_of_a_search_shows_the_values_of_its_trials_and_orders_them_by_its_metric() -> None:
    _, value = view("digits-tune-1", ["lr", "dropout"], "oof_accuracy")
    state = json.loads(value)

    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`oof_accuracy`", False)
    lines, *_ = state["compareRunCharts"]
    assert (lines["selectedParams"], lines["selectedMetrics"]) == (["lr", "dropout"], ["oof_accuracy"])
    assert {"params.`lr`", "params.`dropout`", "metrics.`oof_accuracy`"} <= set(state["selectedColumns"])
    assert json.loads(view("digits-tune-1", ["lr"], "oof_nll")[1])["orderByAsc"] is True


def test_the_newest_run_is_one_that_arrived_with_its_view(uri: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for age, (name, ranked, sent) in enumerate(
        [("unsent-9", True, False), ("former-8", False, True), ("right-7", True, True), ("older-6", True, True)]
    ):
        folder = write_run(runs / name, name=name, ranked=ranked)
        if sent:
            delivery = deliver(folder, uri)
            delivery.position.journal = json.loads((folder / "journal.jsonl").read_text().splitlines()[0])["run"]
            delivery.position.offset = (folder / "journal.jsonl").stat().st_size
            position.save(folder, uri, delivery.position)
        os.utime(folder / "journal.jsonl", (1000 - age, 1000 - age))

    assert newest(runs, uri) == ("right-7", "1")
    assert newest(runs, "http://elsewhere:5000") is None
    assert newest(tmp_path / "nothing", uri) is None
    assert len(runs_by_uid_of(MlflowClient(uri).search_runs(["1"]))) == 5


def test_the_command_prints_where_the_newest_members_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = "http://mlflow:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("QUORATE_RUNS", str(tmp_path / "runs"))
    folder = write_run(tmp_path / "runs/digits-1", name="digits-1")
    ui()
    assert "members of" not in capsys.readouterr().out, "nothing has been sent"

    header = json.loads((folder / "journal.jsonl").read_text().splitlines()[0])
    offset = (folder / "journal.jsonl").stat().st_size
    position.save(folder, server, position.Position(header["run"], offset, experiment_id="3"))
    ui()

    page = address(server, "3", "digits-1")
    assert f"members of digits-1, best first: {page}\n" in capsys.readouterr().out
