"""Whole jobs under a budget: what they leave out, what they keep, and that they can go on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.execution import odd_members  # noqa: F401  (registers a kind)
from tests.jobs import NET, SMALL, Here
from tests.tiny import plan_of, spec_of, tiny_data

from quorate import budgeting
from quorate.bundle import Bundle
from quorate.execution.budget import Budget
from quorate.execution.events import Failed, OutOfTime
from quorate.fitting import Work
from quorate.job import JobFailed
from quorate.kinds import DATASETS
from quorate.plan import Plan
from quorate.report.leaderboard import as_table
from quorate.results import Fit
from quorate.spec import QuorumSpec

QUICK = {**SMALL, "members": {"logistic": {"kind": "logistic"}, "cnn": NET}}
LONG = {**SMALL, "members": {"logistic": {"kind": "logistic"}, "cnn": {**NET, "epochs": 150}}}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def test_an_ample_budget_changes_nothing_but_the_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    without, within = (Here(tmp_path_factory.mktemp(name)).run for name in ("without", "within"))

    plain, budgeted = without(QUICK), within(QUICK, "execution.budget=1h")

    assert budgeted["oof_sha256"] == plain["oof_sha256"]
    assert budgeted["ensemble"] == plain["ensemble"]
    assert "budget" not in plain
    part = budgeted["budget"]
    assert part["seconds"] == 3600 and part["rows"] == part["of_rows"] == 400
    assert part["out_of_time"] == part["stopped_early"] == part["not_counted"] == []


@pytest.mark.system
def test_what_a_short_budget_cut_off_goes_on_to_the_bits_of_the_undisturbed_job(
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
        table.print(as_table(cut, width=80))
    assert "…" not in captured.get() and (f"{cnn['folds']}/2 folds" in captured.get() or "stopped" in captured.get())
    assert sum(row["weight"] for row in cut["members"]) == pytest.approx(1, abs=1e-5)
    assert len(Bundle.load(here.newest_run() / "bundle").predict(_some_images()).proba) == 20
    assert "stopped after" in here.said

    # when: it is started again without a budget
    whole = here.run(LONG)

    # then
    assert "cnn fold" in here.said and "goes on, from its checkpoint" in here.said
    assert whole["tasks"]["reused"] >= 1
    assert whole["oof_sha256"] == undisturbed["oof_sha256"]
    assert whole["ensemble"] == undisturbed["ensemble"]
    assert [row["status"] for row in whole["members"]] == ["ok", "ok"]


def test_a_task_that_overruns_is_given_up_and_the_others_are_the_ensemble(here: Here) -> None:
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


def test_below_the_quorum_the_job_fails_and_says_what_it_would_take(here: Here) -> None:
    members = {"slow": {"kind": "odd", "price": 300}, "slower": {"kind": "odd", "price": 900}}

    with pytest.raises(JobFailed) as failed:
        here.run({**SMALL, "members": members}, "execution.budget=60s")

    said = str(failed.value)
    assert "no quorum: 0 of 2 members" in said
    assert "member slow, copy 1, fold 1: out of time: it takes about 300.0 s" in said
    assert "the budget of 60 s is too short: a fold of 1 of the 2 members would take about 5 min" in said


def _some_images() -> object:
    digits = DATASETS.get("digits")
    return digits.open(digits.Params()).test.x.take(np.arange(20))


def finished(plan: Plan, folds: dict[str, int]) -> Work:
    """Each member has its first so many folds; the others were left out."""
    work = Work()
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


def test_all_folds_count_as_long_as_time_left_none_out(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 2})

    assert budgeting.counting_folds(plan, work, QuorumSpec()).all()


def test_half_of_all_rows_suffice_to_keep_a_member(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 1})

    assert budgeting.counting_folds(plan, work, QuorumSpec()).tolist() == [True, False]
    part = budgeting.budget_part(Budget(60, time.monotonic()), plan, work, [0, 1, 2], np.array([True, False]))
    assert (part["rows"], part["of_rows"], part["not_counted"]) == (21, 40, [])


def test_a_member_that_holds_the_others_below_enough_rows_is_left_out(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgeting, "ENOUGH_OF_ALL", 0.9)
    work = finished(plan, {"a": 2, "b": 2, "c": 1})

    assert budgeting.counting_folds(plan, work, QuorumSpec()).tolist() == [True, True]
    part = budgeting.budget_part(Budget(60, time.monotonic()), plan, work, [0, 1], np.array([True, True]))
    assert part["not_counted"] == [{"member": "c", "reason": "which has 1 of 2 folds and lacks fold 2"}]
    assert budgeting.counting_folds(plan, work, QuorumSpec(members=1.0)).tolist() == [True, False], "the quorum stays"


def test_a_member_that_failed_counts_no_more_than_without_a_budget(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 2, "c": 1})
    broken = plan.of("c")[1]
    del work.late[broken.key]
    work.failures[broken.key] = Failed(broken, 1, "failed", "it broke")
    missing = plan.of("b")[1]
    del work.fits[missing.key]
    work.late[missing.key] = OutOfTime(missing, False, "no time")

    counting = budgeting.counting_folds(plan, work, QuorumSpec())

    assert counting.tolist() == [True, False], "`c` is out, `b` holds `a` back and stays"
    assert work.status(plan, "c") == "failed"
    assert work.status(plan, "b") == "out of time"


def test_a_fold_that_got_less_than_half_as_far_as_another_is_left_out() -> None:
    # given: epochs done of ten in each of two folds
    plan = plan_of("{n: {kind: net, arch: mlp, epochs: 10}}")
    first, second = plan.tasks

    def left(*epochs: int) -> set[int]:
        work = Work()
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


def test_the_jobs_own_number_of_folds_wins(plan: Plan) -> None:
    work = finished(plan, {"a": 2, "b": 1, "c": 1})

    assert budgeting.counting_folds(plan, work, QuorumSpec(folds=1)).all()


def test_time_is_kept_for_the_end_and_more_on_a_slow_start(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeting, "combining_seconds", lambda **_: 2.0)
    spec = spec_of("data: digits\nmembers: {a: svm, b: logistic, c: random_forest}\nexecution: {executor: local}")

    def kept(seconds: float, startup: float, reused: int = 0) -> float:
        budget = Budget(seconds, time.monotonic())
        return budgeting.seconds_after_training(spec, plan, budget, reused=reused, startup=startup)

    usual, slow = kept(600, 3.0), kept(600, 8.0)
    assert usual == pytest.approx(1.5 * 2 + 1.5 + 0.4), "combining, closing, one picture"
    assert slow - 3 == pytest.approx(2 * (usual - 3))
    assert kept(600, 3.0, reused=50) > usual
    assert kept(5, 60.0) == pytest.approx(3 + 1), "a fifth of a short budget"
