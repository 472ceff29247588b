"""Whole jobs under a budget: what they leave out, what they keep, and that they can go on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.execution import odd_members  # noqa: F401  (registers a kind)
from tests.jobs import NET, SMALL, Here
from tests.tiny import LAPTOP, alone, plan_of, spec_of, tiny_data, two_folds

from quorate.bundle import Bundle
from quorate.execution import interim
from quorate.execution.budget import Agenda, Budget
from quorate.execution.events import Event, Failed, OutOfTime, SoFar
from quorate.job import budget as budgeting
from quorate.job.budget import ClosingTime, turnout, workers
from quorate.job.progress import JobProgress
from quorate.job.run import JobFailed
from quorate.plan.planner import make_plan
from quorate.plan.tasks import JobData, Plan
from quorate.registry import DATASETS
from quorate.report.leaderboard import as_table
from quorate.results.results import Fit
from quorate.runs.leaderboard import Leaderboard, QuorumShortfall, UncountedMember
from quorate.runs.logs import RunLogs
from quorate.spec import QuorumSpec

QUICK = {**SMALL, "members": {"logistic": {"kind": "logistic"}, "cnn": NET}}
LONG = {**SMALL, "members": {"logistic": {"kind": "logistic"}, "cnn": {**NET, "epochs": 150}}}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_an_ample_budget_changes_only_the_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    without, within = (Here(tmp_path_factory.mktemp(name)).run for name in ("without", "within"))

    plain, budgeted = without(QUICK), within(QUICK, "execution.budget=1h")

    assert budgeted["oof_sha256"] == plain["oof_sha256"]
    assert budgeted["ensemble"] == plain["ensemble"]
    assert "budget" not in plain
    part = budgeted["budget"]
    assert part["seconds"] == 3600 and part["rows"] == part["of_rows"] == 400
    assert part["out_of_time"] == part["stopped_early"] == part["not_counted"] == []


@pytest.mark.slow
@pytest.mark.system
def test_a_job_stopped_by_its_budget_resumes_to_the_bits_of_an_undisturbed_job(
    here: Here, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # given: about half of what the network's first fold takes
    undisturbed = Here(tmp_path_factory.mktemp("undisturbed")).run(LONG)
    fold = undisturbed["members"][1]["fit_seconds"] / 2
    budget = (fold / 2 + 1.5) / 0.8

    # when
    begun = time.monotonic()
    cut = here.run(LONG, f"execution.budget={budget:.2f}s")
    seconds = time.monotonic() - begun

    # then: it gave its best epoch, and what was left out is said
    part, cnn = cut["budget"], cut["members"][1]
    assert seconds < budget + 3, "some for a busy machine"
    assert [row["member"] for row in part["stopped_early"]] == ["cnn"]
    (stopped,) = part["stopped_early"]
    assert 0 <= stopped["epochs_done"] < stopped["epochs"] == 150
    assert cnn["status"] in ("out of time", "stopped early") and cnn["folds"] >= 1
    table = Console(width=80, color_system=None)
    with table.capture() as captured:
        table.print(as_table(Leaderboard.model_validate(cut), width=80))
    assert "…" not in captured.get() and (f"{cnn['folds']}/2 folds" in captured.get() or "stopped" in captured.get())
    assert sum(row["weight"] for row in cut["members"]) == pytest.approx(1, abs=1e-5)
    assert len(Bundle.load(here.newest_run() / "bundle").predict(_some_images()).proba) == 20
    assert "stopped after" in here.said

    # when: it is started again without a budget
    whole = here.run(LONG)

    # then
    assert "cnn fold" in here.said and "continues on" in here.said
    assert whole["tasks"]["reused"] >= 1
    assert whole["oof_sha256"] == undisturbed["oof_sha256"]
    assert whole["ensemble"] == undisturbed["ensemble"]
    assert [row["status"] for row in whole["members"]] == ["ok", "ok"]


def test_a_task_that_overruns_is_abandoned_and_the_others_form_the_ensemble(here: Here) -> None:
    members = {"late": {"kind": "odd", "seconds": 9, "price": 0.001}, "logistic": {"kind": "logistic"}}
    begun = time.monotonic()

    board = here.run({**SMALL, "members": members}, "execution.budget=5s")

    assert time.monotonic() - begun < 8.5
    late, logistic = board["members"]
    assert (late["status"], late["folds"], late["weight"]) == ("out of time", 0, 0)
    assert logistic["status"] in ("ok", "out of time") and logistic["weight"] == 1
    assert [row["reason"] for row in board["budget"]["not_counted"] if row["member"] == "late"]
    assert any(row["begun"] for row in board["budget"]["out_of_time"])
    assert board["tasks"]["failed"] == 0


def test_a_job_that_misses_its_quorum_fails_and_says_how_much_time_it_requires(here: Here) -> None:
    members = {"slow": {"kind": "odd", "price": 300}, "slower": {"kind": "odd", "price": 900}}

    with pytest.raises(JobFailed) as failed:
        here.run({**SMALL, "members": members}, "execution.budget=60s")

    said = str(failed.value)
    assert "no quorum: only 0 of 2 members" in said
    assert "member slow, copy 1, fold 1: out of time: it takes about 300.0 s" in said
    assert "the budget of 60 s is too short: the quorum (one fold of 1 of the 2 members) needs about 5 min" in said


def _some_images() -> object:
    digits = DATASETS.get("digits")
    return digits.open(digits.Params()).test.x.take(np.arange(20))


def finished(plan: Plan, folds: dict[str, int]) -> JobProgress:
    """Progress in which each member has finished its first `folds` folds, and the others were skipped."""
    work = JobProgress()
    for task in plan.tasks:
        if task.fold < folds[task.label]:
            rows = len(plan.context.folds[task.fold].valid)
            work.fits[task.key] = Fit(task, np.full((rows, 3), 1 / 3, np.float32), [], 1.0, {}, reused=False)
        else:
            work.late[task.key] = OutOfTime(task, False, "no time")
    return work


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of("{a: svm, b: logistic, c: random_forest}", data=tiny_data(rows=40))


def test_all_folds_count_if_the_budget_skipped_none(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 2})

    assert turnout(plan, work, QuorumSpec()).folds.all()


def test_half_of_all_rows_suffice_to_keep_a_member(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 1})

    there = turnout(plan, work, QuorumSpec())
    assert there.folds.tolist() == [True, False] and there.members.all() and not there.short
    part = budgeting.budget_part(Budget(60, time.monotonic()), plan, work, there, np.ones(3, dtype=bool))
    assert (part.rows, part.of_rows, part.not_counted) == (21, 40, ())
    assert (part.folds, part.of_folds) == (1, 2)


def test_a_member_that_holds_the_others_below_enough_rows_is_left_out(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgeting, "ENOUGH_OF_ALL", 0.9)
    work = finished(plan, {"a": 2, "b": 2, "c": 1})

    there = turnout(plan, work, QuorumSpec())
    assert there.folds.tolist() == [True, True]
    part = budgeting.budget_part(Budget(60, time.monotonic()), plan, work, there, np.ones(3, dtype=bool))
    assert part.not_counted == (UncountedMember(member="c", reason="which has 1 of 2 folds (missing: fold 2)"),)
    assert turnout(plan, work, QuorumSpec(members=1.0)).folds.tolist() == [True, False], "the quorum stays"


def test_a_member_that_failed_counts_no_more_than_without_a_budget(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 1})
    broken = plan.of("c")[1]
    del work.late[broken.key]
    work.failures[broken.key] = Failed(broken, 1, "failed", "it broke")
    missing = plan.of("b")[1]
    del work.fits[missing.key]
    work.late[missing.key] = OutOfTime(missing, False, "no time")

    there = turnout(plan, work, QuorumSpec())

    assert there.folds.tolist() == [True, False], "`c` is out, `b` holds `a` back and stays"
    assert there.members.tolist() == [True, True, False]
    assert work.status(plan, "c") == "failed"
    assert work.status(plan, "b") == "out of time"


def test_a_fold_trained_for_less_than_half_of_the_epochs_of_another_is_left_out() -> None:
    # given: epochs done of ten in each of two folds
    plan = plan_of("{n: {kind: net, arch: mlp, epochs: 10}}")
    first, second = plan.tasks

    def left(*epochs: int) -> set[int]:
        work = JobProgress()
        for task, done in zip((first, second), epochs, strict=True):
            valid, history = np.full((20, 3), 1 / 3, np.float32), [{"valid_loss": 1.0}] * done
            work.fits[task.key] = Fit(task, valid, history, 1.0, {}, reused=False, complete=done == 10)
        budgeting.leave_out_beginnings(plan, work)
        assert set(work.late) | set(work.fits) == {first.key, second.key}
        return {task.fold for task in plan.tasks if task.key in work.fits}

    # then
    assert left(10, 4) == {0}
    assert left(10, 5) == {0, 1}
    assert left(3, 2) == {0, 1}
    assert left(1, 10) == {1}
    assert left(0, 0) == {0, 1}


def test_a_copy_trained_for_less_than_half_of_the_epochs_of_another_is_left_out() -> None:
    plan = plan_of("{n: {kind: net, arch: mlp, epochs: 10, copies: 2}, other: {kind: net, arch: mlp, epochs: 10}}")
    done = {"n.1": 10, "n.2": 4, "other": 1}
    work = JobProgress()
    for task in plan.tasks:
        valid, history = np.full((20, 3), 1 / 3, np.float32), [{"valid_loss": 1.0}] * done[task.label]
        complete = done[task.label] == 10
        work.fits[task.key] = Fit(task, valid, history, 1.0, {}, reused=False, complete=complete)

    budgeting.leave_out_beginnings(plan, work)

    left = {task.label for task in plan.tasks if task.key in work.fits}
    assert left == {"n.1", "other"}, "the members of a job have nothing to do with each other"
    assert not turnout(plan, work, QuorumSpec()).members[1]


def test_the_number_of_folds_in_the_job_file_takes_precedence(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 1, "c": 1})

    there = turnout(plan, work, QuorumSpec(folds=1))
    assert there.folds.all() and there.members.all() and not there.short


def test_if_the_budget_leaves_no_quorum_the_finished_members_count(plan: Plan) -> None:
    # given: one fold of one member; the others have not failed, they were late
    work = finished(plan, {"a": 1, "b": 0, "c": 0})

    for quorum in (QuorumSpec(), QuorumSpec(members=3), QuorumSpec(folds=2)):
        there = turnout(plan, work, quorum)
        assert there.members.tolist() == [True, False, False] and there.folds.tolist() == [True, False]
        assert there.short and there.quorum == quorum.of(3)
    part = budgeting.budget_part(Budget(60, time.monotonic()), plan, work, there, np.zeros(3, dtype=bool))
    assert part.below_quorum == QuorumShortfall(members=1, needed=2)


def test_a_quorum_missed_because_of_failures_is_not_waived_by_the_budget(plan: Plan) -> None:
    # given: two members have failed, so that no time would give a quorum of two; another fold of `a` is late
    work = finished(plan, {"a": 1, "b": 0, "c": 0})
    for label in ("b", "c"):
        for task in plan.of(label):
            del work.late[task.key]
            work.failures[task.key] = Failed(task, 1, "failed", "it broke")

    there = turnout(plan, work, QuorumSpec())

    assert not there.short
    assert np.count_nonzero(there.members) < there.quorum


def test_without_any_finished_fit_there_is_no_ensemble(plan: Plan) -> None:
    there = turnout(plan, finished(plan, {"a": 0, "b": 0, "c": 0}), QuorumSpec())

    assert not there.short and not there.members.any()


def test_time_is_reserved_for_the_final_steps_and_more_after_a_slow_start(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgeting, "combining_seconds", lambda **_: 2.0)
    spec = spec_of("data: digits\nmembers: {a: svm, b: logistic, c: random_forest}\nexecution: {executor: local}")

    def kept(seconds: float, startup: float, reused: int = 0) -> float:
        ending = ClosingTime(Budget(seconds, time.monotonic()))
        ending.measure("local", startup)
        assert ending.budget is not None
        return budgeting.seconds_after_training(spec, plan, ending.budget, ending, reused=reused)

    usual, slow = kept(600, 3.0), kept(600, 8.0)
    assert usual == pytest.approx(1.5 * 2 + 1.5 + 0.4), "combining, closing, one picture"
    assert slow - 3 == pytest.approx(2 * (usual - 3))
    assert kept(600, 3.0, reused=50) > usual
    assert kept(5, 60.0) == pytest.approx(3 + 1.25), "a quarter of a short budget"


def test_final_steps_without_enough_time_are_skipped_and_reported() -> None:
    free, tight = ClosingTime(None), ClosingTime(Budget(60.0, time.monotonic() - 50), slow=2.0, closing=4.0)

    assert free.has_time_for("report.html", 1e9) and free.left_out == []
    assert tight.has_time_for("train_dev", 2.0), "4 of the 6 seconds that are left"
    assert not tight.has_time_for("report.html", 20.0)
    assert tight.left_out == ["report.html"]


def test_pictures_are_drawn_while_there_is_time(tmp_path: Path) -> None:
    ending = ClosingTime(Budget(60.0, time.monotonic() - 50), closing=9.0)

    def drawn() -> Iterator[Path]:
        for number in range(9):
            time.sleep(0.25)
            yield tmp_path / f"{number}.png"

    assert 1 <= len(list(ending.pictures(drawn()))) <= 4
    assert ending.left_out == ["pictures"]


@pytest.fixture
def cut_after_its_first_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks store a result at every epoch, and training stops as soon as one exists, so that no fit is completed."""
    over: list[bool] = []
    write = RunLogs.write

    def noticed(logs: RunLogs, event: Event) -> None:
        write(logs, event)
        if isinstance(event, SoFar):
            over.append(True)

    monkeypatch.setattr(interim, "SLOWER", 1e9)
    monkeypatch.setattr(RunLogs, "write", noticed)
    monkeypatch.setattr(Agenda, "over", lambda agenda: bool(over))


@pytest.mark.usefixtures("cut_after_its_first_result")
def test_an_abandoned_network_counts_with_its_last_interim_result(here: Here) -> None:
    # given: a network that would train for minutes, and a quorum that it cannot give
    augment = {"augment": {"crop": 1}, "tta": {"augment": {"crop": 1}, "passes": 2}}
    members = {"cnn": {**NET, **augment, "epochs": 5000, "batch_size": 4}, "never": {"kind": "odd", "price": 9e9}}

    board = here.run({**SMALL, "members": members, "quorum": {"members": 2}}, "execution.budget=10m")

    # then: the ensemble is what it had kept, and what is missing is said
    cnn, never = board["members"]
    assert cnn["weight"] == 1 and cnn["folds"] == 1 and cnn["test"] is None
    assert never["status"] == "out of time"
    part = board["budget"]
    assert part["below_quorum"] == {"members": 1, "needed": 2}
    assert part["untested"] == ["cnn"] and board["ensemble"]["test"] is None
    (stopped,) = part["stopped_early"]
    assert 1 <= stopped["epochs_done"] < 20
    text = (here.newest_run() / "leaderboard.txt").read_text()
    assert "below the quorum: members ready in time: 1; required: 2" in text
    assert "the combination was fitted on 1 of 2 folds, 200 of 400 rows" in text
    assert f"no time to predict the test rows: cnn; run `quorate evaluate DATA --run {board['run']}`" in text
    assert json.loads((here.newest_run() / "leaderboard.json").read_text()) == board

    # and: the bundle's network says of the validation rows what the ensemble was made of
    with np.load(here.newest_run() / "oof.npz") as arrays:
        proba, rows = arrays["proba"][0], arrays["mask"][0]
    digits = DATASETS.get("digits")
    train = digits.open(digits.Params()).train
    bundle = Bundle.load(here.newest_run() / "bundle")
    answer = bundle.predict(train.x.subset(np.flatnonzero(rows)), members=True)
    np.testing.assert_array_equal(answer.members["cnn"].astype(np.float32), proba[rows])  # type: ignore[index]


@pytest.mark.usefixtures("cut_after_its_first_result")
def test_an_abandoned_fit_resumes_to_the_bits_of_an_undisturbed_job(
    here: Here, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {**SMALL, "members": {"cnn": {**NET, "epochs": 12, "batch_size": 8}}}
    undisturbed = Here(tmp_path_factory.mktemp("undisturbed")).run(job)

    cut = here.run(job, "execution.budget=10m", "execution.checkpoint_seconds=0")
    whole = here.run(job)

    assert cut["members"][0]["status"] != "ok" and cut["oof_sha256"] != undisturbed["oof_sha256"]
    assert whole["tasks"]["reused"] == 0, "what was cut off is kept under no key"
    assert "continues on" in here.said
    assert whole["oof_sha256"] == undisturbed["oof_sha256"]
    assert whole["ensemble"] == undisturbed["ensemble"] and "budget" not in whole
    assert whole["members"][0]["test"] is not None


@pytest.mark.parametrize(
    ("left", "slow", "workers", "here"),
    [(50, 1.0, 2, False), (30, 3.0, 2, True), (40, 3.0, 8, False), (300, 4.0, 2, False), (50, 1.0, 1, True)],
)
def test_ray_is_not_started_where_it_would_take_more_time_than_its_workers_save(
    left: float, slow: float, workers: int, here: bool
) -> None:
    ending = ClosingTime(Budget(1000.0, time.monotonic() - 1000 + left), slow=slow)

    # nine seconds times `slow` until workers begin: of 30 s they have 3, which two of them do not make up for
    assert ending.is_too_short_for_ray(workers) is here


@pytest.mark.parametrize(
    ("job", "expected"), [("grow: true", 3), ("grow: true\nexecution: {workers: 2}", 2), ("grow: false", 2)]
)
def test_a_job_that_grows_uses_more_workers_than_its_own_members_need(job: str, expected: int) -> None:
    rows = tiny_data()
    spec = spec_of(f"{job}\ndata: digits\nmembers: {{a: {{kind: logistic}}}}\n")
    plan = make_plan(spec, JobData(rows, None, two_folds(len(rows))), alone(LAPTOP))

    assert workers(plan, lambda resources: 3, spec) == expected


def test_a_job_with_little_time_is_trained_in_this_process(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClosingTime, "is_too_short_for_ray", lambda ending, workers: True)
    plain = here.run(QUICK)

    monkeypatch.delattr("quorate.execution.workplace.start_ray")
    (here.folder / "again").mkdir()
    again = Here(here.folder / "again")
    board = again.run(QUICK, "execution.executor=ray", "execution.budget=10m")

    assert "the job runs in this process, without Ray" in again.said
    assert board["oof_sha256"] == plain["oof_sha256"]
