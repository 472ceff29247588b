"""`quorate tune`: trials are fit tasks of a job, kept in its store, and the chosen ones become members."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.report.finished import Parsed

from quorate.execution import local, stream
from quorate.execution.attempt import FitAttempt
from quorate.execution.local import LocalExecutor
from quorate.report.run_report import REPORT
from quorate.runs.folder import RunFolder
from quorate.runs.search_record import NAME, SearchRecord
from quorate.tracking.journal import records
from quorate.tracking.records import ArtifactRecord, MetricsRecord, RunRecord

JOB: dict[str, Any] = {
    "name": "small",
    "data": {"kind": "digits", "limit": 300},
    "validation": {"folds": 3},
    "members": {
        "bayes": {"kind": "naive_bayes", "search": {"trials": 6, "method": "random"}},
        "net": {
            "kind": "net",
            "arch": {"kind": "mlp", "hidden": [8]},
            "epochs": 4,
            "search": {"trials": 6, "scheduler": "asha", "over": "both", "space": {"lr": "log_uniform(1e-3, 1)"}},
        },
        "knn": "knn",
    },
    "execution": {"executor": "local"},
    "tracking": {"enabled": False},
}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the fits that were trained."""
    begun: list[str] = []

    def counting(assignment: Any, *given: Any, **more: Any) -> FitAttempt:
        begun.append(f"{assignment.task.title} {assignment.task.until or ''}".strip())
        return FitAttempt(assignment, *given, **more)

    monkeypatch.setattr(stream, "FitAttempt", counting)
    return begun


def write_job(folder: Path, **changes: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**JOB, **changes}, sort_keys=False))
    return path


def searches(folder: Path) -> list[SearchRecord]:
    found = sorted((folder / "runs").glob(f"*/{NAME}"), key=lambda path: path.stat().st_mtime)
    read = [SearchRecord.read(RunFolder(path.parent)) for path in found]
    return [record for record in read if record is not None]


def told(record: SearchRecord) -> list[tuple[Any, ...]]:
    """What does not depend on the time of a search."""
    return [(one.number, one.name, one.source, one.state, one.values, one.loss, one.steps) for one in record.trials]


def test_a_search_is_recorded_reused_and_becomes_a_job_that_trains_nothing(quorate_in, tmp_path, trained):
    write_job(tmp_path)

    code, out, err = quorate_in(tmp_path, "tune", "job.yaml", "bayes", "--emit", "best.yaml", columns=160)

    assert code == 0, err
    (record,) = searches(tmp_path)
    assert [one.state for one in record.trials] == ["complete"] * 6
    assert record.trials[0].source == "written" and record.trials[0].name == "bayes"
    assert {one.source for one in record.trials[1:]} == {"random"}
    assert len(trained) == 18 and record.best is not None
    code, listed, _ = quorate_in(tmp_path, "runs", "--json")
    assert [(one["name"], one["state"], one["oof_nll"]) for one in json.loads(listed)] == [
        (record.run, "finished", record.best.loss)
    ]
    assert f"best: {record.best.name}; nll {record.best.loss:.4f}, and " in out
    assert "on rows that did not choose (optimism " in out
    emitted = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert list(emitted["members"]) == [record.best.name, "net", "knn"]
    assert emitted["members"][record.best.name] == record.best.member

    trained.clear()
    code, out, _ = quorate_in(tmp_path, "tune", "job.yaml", "bayes", columns=160)
    assert code == 0 and trained == []
    assert told(searches(tmp_path)[1]) == told(record)
    assert "18 fits reused" in out

    del emitted["members"]["net"], emitted["members"]["knn"]
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(emitted))
    code, out, err = quorate_in(tmp_path, "train", "alone.yaml")
    assert code == 0, err
    assert trained == [] and "fit tasks: 0 trained, 3 reused" in out


def test_the_search_has_a_report_which_can_be_written_again(quorate_in, tmp_path):
    write_job(tmp_path)
    code, out, err = quorate_in(tmp_path, "tune", "job.yaml", "net", "--trials", "4", columns=160)
    assert code == 0, err
    (record,) = searches(tmp_path)
    report = tmp_path / "runs" / record.run / REPORT
    assert f"report: {report.relative_to(tmp_path)}" in out
    written = Parsed(report.read_text())
    assert record.best is not None and f"{record.best.loss:.4f}" in written.text
    assert {"result", "best", "training", "trials"} <= set(written.values("section", "id"))
    journal = [one for one in records(report.parent / "journal.jsonl") if isinstance(one, ArtifactRecord)]
    assert REPORT in [Path(one.path).name for one in journal]

    for arguments in ((), ("--run", record.run)):
        report.unlink()
        code, out, err = quorate_in(tmp_path, "report", *arguments)
        assert code == 0 and f"wrote the report of {record.run}" in out, err
        assert Parsed(report.read_text()).values("section", "id") == written.values("section", "id")


def test_searches_with_other_seeds_or_folds_do_not_wait_for_each_other(quorate_in, tmp_path):
    write_job(tmp_path)
    given = ("tune", "job.yaml", "bayes", "--trials", "1", "--store", "store")

    def leases(*settings: str) -> int:
        code, _, err = quorate_in(tmp_path, *given, *settings)
        assert code == 0, err
        return len(list((tmp_path / "store" / "leases").glob("*.json")))

    assert [leases(), leases(), leases("--set", "seed=1"), leases("--set", "validation.folds=2")] == [1, 1, 2, 3]


def test_a_search_by_another_method_trains_no_trial_again(quorate_in, tmp_path, trained):
    write_job(tmp_path)
    space = "--set=members.bayes.search.space={smoothing: [0.1, 0.01, 0.001]}"
    quorate_in(tmp_path, "tune", "job.yaml", "bayes", space, "--method", "grid")
    assert len(trained) == 9, "the member as written is one of the grid"

    trained.clear()
    code, out, _ = quorate_in(tmp_path, "tune", "job.yaml", "bayes", space, "--method", "tpe", "--trials", "20")

    assert code == 0 and trained == []
    assert "3 trials: 3 complete" in out and "the last 100 suggestions were known already" in out


def test_stopped_trials_keep_what_they_have_trained_and_survivors_go_on(quorate_in, tmp_path, trained):
    write_job(tmp_path)

    code, _, err = quorate_in(tmp_path, "tune", "job.yaml", "net", "--ensemble", "2", columns=200)

    assert code == 0, err
    (record,) = searches(tmp_path)
    assert [tuple(step) for step in record.steps] == [(1, 0.25), (1, 1.0), (3, 1.0)]
    stopped = [one for one in record.trials if one.state == "stopped"]
    assert stopped and all(one.folds == 1 and one.epochs in (1, 4) for one in stopped)
    complete = [one for one in record.trials if one.state == "complete"]
    assert complete and all((one.folds, one.epochs) == (3, 12) for one in complete)
    assert len(trained) == len(set(trained)), "no step twice"
    assert record.choices[0].rule == "best"

    trained.clear()
    quorate_in(tmp_path, "tune", "job.yaml", "net", "--scheduler", "none", "--trials", "6")
    again = searches(tmp_path)[1]
    assert [one.name for one in again.trials][:4] == [one.name for one in record.trials][:4]
    known = {f"{one.name} fold {fold}" for one in complete for fold in (1, 2, 3)}
    assert not known & set(trained), "complete trials are reused"


def test_the_journal_has_a_run_for_the_search_and_one_for_each_trial(quorate_in, tmp_path):
    write_job(tmp_path)
    quorate_in(tmp_path, "tune", "job.yaml", "net")

    (journal,) = (tmp_path / "runs").glob("*/journal.jsonl")
    written = list(records(journal))
    trials = {one.uid: one for one in written if isinstance(one, RunRecord) and one.level == "member"}
    (record,) = searches(tmp_path)
    assert set(trials) == {f"job/{one.name}" for one in record.trials}
    assert all(float(one.params["lr"]) > 0 for one in trials.values())
    losses = {one.uid: one.values for one in written if isinstance(one, MetricsRecord) and "oof_nll" in one.values}
    assert {uid: values["oof_nll"] for uid, values in losses.items()} == pytest.approx(
        {f"job/{one.name}": one.loss for one in record.trials}
    )


def test_a_member_without_a_search_is_searched_with_the_space_of_its_kind(quorate_in, tmp_path):
    write_job(tmp_path)

    code, out, err = quorate_in(tmp_path, "tune", "job.yaml", "knn", "--trials", "4", "--json")

    assert code == 0, err
    record = json.loads(out)
    assert [one["path"] for one in record["parameters"]] == ["neighbours", "votes"]
    assert [one["source"] for one in record["trials"]][:2] == ["written", "tpe"]
    assert record["trials"][0]["values"] == {"neighbours": 15, "votes": "distance"}


def test_a_job_searches_its_members_first_and_trains_the_chosen_trials_no_more(
    quorate_in, tmp_path, trained, monkeypatch
):
    opened: list[LocalExecutor] = []

    def counted() -> LocalExecutor:
        opened.append(LocalExecutor())
        return opened[-1]

    monkeypatch.setattr(local, "LocalExecutor", counted)
    bayes, knn = JOB["members"]["bayes"], {"kind": "knn", "search": {"trials": 4, "ensemble": 2}}
    write_job(tmp_path, members={"bayes": bayes, "knn": knn, "logistic": "logistic"})

    code, out, err = quorate_in(tmp_path, "train", "job.yaml", columns=160)

    assert code == 0, err
    assert "search 1 of 2: bayes" in out and "search 2 of 2: knn" in out
    records = {record.member: record for record in searches(tmp_path)}
    greedy = next(choice for choice in records["knn"].choices if choice.rule == "greedy 2")
    (board,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/leaderboard.json"))
    assert {row["name"] for row in board["members"]} == {records["bayes"].best.name, *greedy.trials, "logistic"}
    assert board["tasks"]["trained"] == 3, "the logistic regression alone"
    assert len(opened) == 1, "the searches and the job share an executor"


MISTAKES = {
    "no member": (("nett",), "the job has no member 'nett'; did you mean 'net'? (its members: bayes, net, knn)"),
    "method": (("net", "--method", "tp"), "--method tp: members.net.search.method: 'tp' is not one of 'random'"),
    "over folds": (
        ("bayes", "--scheduler", "asha", "--set", "members.bayes.search.over=epochs"),
        "members.bayes.search.over: over: epochs needs a member with epochs, but naive_bayes has none; write over: fol",
    ),
    "no member for these data": (
        (
            *("net", "--set", "members.net.search.portfolio=false"),
            *("--set", "members.net.search.space={lr: 'log_uniform(1e-3, 1)', arch: {tabm: null}}"),
        ),
        "members.net.search.space: none of the first 6 members can be trained on these data, for example: cannot be",
    ),
    "emit": (("net", "--emit", "nowhere/best.yaml"), "--emit nowhere/best.yaml: the folder"),
    "the job file": (("net", "--emit", "job.yaml"), "--emit job.yaml would overwrite the job file of the search; give"),
    "nothing to resume": (("net", "--resume"), "there is no search of net in"),
    "package": (("net", "--method", "hyperopt"), "method: hyperopt cannot be used: HyperOpt must be installed!"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_before_there_is_a_run(quorate_in, tmp_path, trained, name):
    write_job(tmp_path)
    arguments, message = MISTAKES[name]

    code, _, err = quorate_in(tmp_path, "tune", "job.yaml", *arguments)

    assert code == 2 and message in err
    assert trained == []
    assert not list((tmp_path / "runs").glob("*")), "there is no run of it"


def test_resume_uses_the_settings_of_the_newest_search(quorate_in, tmp_path, trained):
    write_job(tmp_path)
    quorate_in(tmp_path, "tune", "job.yaml", "knn", "--trials", "3", "--method", "sobol")
    trained.clear()

    code, _, err = quorate_in(tmp_path, "tune", "job.yaml", "knn", "--resume")

    assert code == 0, err
    assert trained == [] and told(searches(tmp_path)[1]) == told(searches(tmp_path)[0])


def test_resume_tells_members_with_similar_names_apart(quorate_in, tmp_path):
    write_job(tmp_path, members={"knn": "knn", "knn-2": "knn"})
    quorate_in(tmp_path, "tune", "job.yaml", "knn", "--trials", "3")
    quorate_in(tmp_path, "tune", "job.yaml", "knn-2", "--trials", "2")

    code, out, err = quorate_in(tmp_path, "tune", "job.yaml", "knn", "--resume", "--json")

    assert code == 0, err
    assert json.loads(out)["settings"]["trials"] == 3


def test_entries_of_the_portfolio_that_contradict_the_member_are_left_out(quorate_in, tmp_path):
    net = {"kind": "net", "arch": {"kind": "small_cnn", "width": 4}, "epochs": 2, "snapshots": 2}
    write_job(tmp_path, members={"net": net})

    code, out, err = quorate_in(tmp_path, "tune", "job.yaml", "net", "--trials", "2", "--json")

    assert code == 0, err
    assert [one["source"] for one in json.loads(out)["trials"]] == ["written", "tpe"]


def test_a_search_that_completes_no_trial_says_why(quorate_in, tmp_path):
    slow = {"kind": "net", "arch": {"kind": "mlp", "hidden": [64]}, "epochs": 100_000}
    write_job(tmp_path, members={"net": slow})

    code, out, _ = quorate_in(tmp_path, "tune", "job.yaml", "net", "--budget", "8s", "--emit", "best.yaml")

    assert code == 1
    assert "the search failed: no trial is complete (out of time" in out
    assert "raise the budget, or lower the number of folds or epochs" in out
    assert not (tmp_path / "best.yaml").exists()
