"""Single networks that a command trains, with a store that other processes use and that can be away."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.execution.jobs import plan_of, task_of
from tests.jobs import runner_with

from quorate.execution import stream
from quorate.execution.attempt import FitAttempt
from quorate.execution.events import Reported
from quorate.job import outages
from quorate.job.ensemble import JobFailed
from quorate.plan.tasks import Plan
from quorate.results.results import Fit
from quorate.spec import ExecutionSpec
from quorate.store import Store, StoreUnavailable
from quorate.store.lease_record import LeaseHolder, LeaseRecord


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of({"bayes": {"kind": "naive_bayes"}})


def test_two_commands_that_want_the_same_fit_train_it_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def counting(assignment: Any, *given: Any, **more: Any) -> FitAttempt:
        begun.append(assignment.task.key)
        return FitAttempt(assignment, *given, **more)

    monkeypatch.setattr(stream, "FitAttempt", counting)
    task, said, found = task_of(plan, "bayes"), list[str](), list[Fit]()

    def second() -> None:
        with runner_with(tmp_path / "store", said=said).session(plan.context, ExecutionSpec()) as session:
            found.append(session.result(task))

    other = threading.Thread(target=second)
    with runner_with(tmp_path / "store").session(plan.context, ExecutionSpec()) as session:
        session.submit([task])
        other.start()
        until = time.monotonic() + 30
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        (trained,) = (outcome for outcome in session.outcomes() if isinstance(outcome, Fit))
    other.join(30)

    (message,) = said
    assert message.endswith("trains the same networks with the same store; waiting until it ends")
    assert begun == [task.key]
    assert [fit.reused for fit in found] == [True] and (found[0].valid == trained.valid).all()


def test_a_command_whose_lease_was_taken_keeps_no_result(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    runner, task = runner_with(tmp_path / "store"), task_of(plan, "bayes")
    other = LeaseRecord(5, LeaseHolder("elsewhere", 7, "1", "m", "t"))

    with (
        pytest.raises(JobFailed, match=r"process 7 on elsewhere holds the lease.*; run the same command to continue"),
        runner.session(plan.context, ExecutionSpec()) as session,
    ):
        session.submit([task])
        (lease,) = runner.store.backend.names("leases")
        runner.store.backend.write(lease, other.to_bytes())
        until = time.monotonic() + 30
        while not runner.stop.requested and time.monotonic() < until:
            time.sleep(0.01)
        list(session.outcomes())

    assert runner.results.find(task) is None


def test_the_networks_of_a_command_train_on_while_its_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a store that answers the first commit only when the last network has begun to report
    plan = plan_of({"first": {"kind": "naive_bayes"}, "last": {"kind": "logistic"}})
    first, last = task_of(plan, "first"), task_of(plan, "last")
    commit, go, seen = Store.commit, threading.Event(), list[str]()

    def slow(store: Store, space: str, key: str, manifest: Any) -> Any:
        assert go.wait(30), "the command waits for the store before it reads the next event"
        return commit(store, space, key, manifest)

    monkeypatch.setattr(Store, "commit", slow)

    # when
    with runner_with(tmp_path / "store").session(plan.context, ExecutionSpec()) as session:
        session.submit([first, last])
        for outcome in session.outcomes():
            if isinstance(outcome, Reported):
                seen.append(f"{outcome.task.member} reports")
                if {"first reports", "last reports"} <= set(seen):
                    go.set()
            elif isinstance(outcome, Fit):
                seen.append(f"{outcome.task.member} is kept")
                assert session.files(outcome), "its files are in the store"

    # then
    assert set(seen[-2:]) == {"first is kept", "last is kept"}


def test_a_task_that_is_submitted_after_the_last_event_is_done_as_well(plan: Plan, tmp_path: Path) -> None:
    one, other = plan.tasks

    with runner_with(tmp_path / "store").session(plan.context, ExecutionSpec()) as session:
        session.submit([one])
        kept = []
        for outcome in session.outcomes():
            if isinstance(outcome, Fit):
                kept.append(outcome.task.key)
                session.submit([other] if outcome.task is one else [])

    assert kept == [one.key, other.key]


def test_a_command_waits_for_a_store_that_is_away_for_a_while(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.0)
    commit, tries, said = Store.commit, list[str](), list[str]()

    def away(store: Store, space: str, key: str, manifest: Any) -> Any:
        tries.append(key)
        if len(tries) <= 3:
            raise StoreUnavailable(None, "the store is unavailable: it does not answer", store.address)
        return commit(store, space, key, manifest)

    monkeypatch.setattr(Store, "commit", away)
    runner, task = runner_with(tmp_path / "store", said=said), task_of(plan, "bayes")

    with runner.session(plan.context, ExecutionSpec()) as session:
        session.result(task)

    begin, end = said
    assert "the store is unavailable" in begin and end.startswith("the store answers again after")
    assert runner.results.find(task) is not None
