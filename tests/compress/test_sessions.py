"""Students and soups are trained in sessions: the same bits everywhere, and no work is lost."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.compress.test_distillation import SMALL, files_in, run_of
from tests.jobs import Here, ThisRay, runner_with

from quorate.compress.distillation import DistillationSettings, distill, student_job
from quorate.compress.soup import make_soup
from quorate.compress.soup_candidates import find_candidates
from quorate.execution import stream
from quorate.execution.attempt import FitAttempt
from quorate.execution.events import Event, Started
from quorate.job.fits import FitRunner, FitSession
from quorate.runs.finished import FinishedRun, reopen
from quorate.runs.folder import RunFolder


def taught(run: FinishedRun, output: Path, runner: FitRunner, *, epochs: int, watch: Any = None, **lesson: Any):
    job = student_job(run.folder, arch=SMALL, epochs=epochs, overrides=())
    return distill(run, job, DistillationSettings(**lesson), output, runner, watch=watch or (lambda *seen: None))


def test_a_finished_student_is_not_trained_again(
    teachers: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, runner = run_of(teachers), runner_with(tmp_path / "store")
    found = taught(run, tmp_path / "one", runner, epochs=2, views=2, plain=True)
    monkeypatch.setattr(stream, "FitAttempt", lambda *given, **more: pytest.fail("it trains"))

    again = taught(run, tmp_path / "other", runner, epochs=2, views=2, plain=True)

    assert found == again
    assert files_in(tmp_path / "one") == files_in(tmp_path / "other")


def test_another_lesson_is_another_student(teachers: Here, tmp_path: Path) -> None:
    run, runner = run_of(teachers), runner_with(tmp_path / "store")

    lessons: list[dict[str, Any]] = [{}, {"temperature": 3.0}, {"hard": 0.7}, {"views": 1}, {"views": 0}]
    files = [
        files_in(tmp_path / f"{number}")["members/student/0/weights.safetensors"]
        for number, lesson in enumerate(lessons)
        if taught(run, tmp_path / f"{number}", runner, epochs=2, **{"views": 2, **lesson})
    ]

    assert len(set(files)) == len(lessons)


@pytest.mark.slow
def test_students_and_soups_have_the_same_bits_on_ray(teachers: Here, tmp_path: Path, ray_session: None) -> None:
    run = run_of(teachers)
    found = []

    for name, place in (("local", None), ("ray", ThisRay())):
        runner = runner_with(tmp_path / f"{name} store", place)
        candidates = find_candidates(run, runner_with(teachers.folder / "store"))
        student = taught(run, tmp_path / name / "student", runner, epochs=3, views=2, plain=True)
        soup = make_soup(run, candidates, tmp_path / name / "soup", runner)
        found.append((student, soup, files_in(tmp_path / name)))

    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.chaos
def test_a_student_whose_worker_is_killed_continues_elsewhere_to_the_same_bits(
    teachers: Here, tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(teachers)
    often = run.job.spec.execution.model_copy(update={"checkpoint_seconds": 0})
    run = replace(run, job=replace(run.job, spec=run.job.spec.model_copy(update={"execution": often})))
    starts: list[Started] = []
    handle = FitSession._handle

    def noting(session: FitSession, event: Event) -> Any:
        if isinstance(event, Started):
            starts.append(event)
        return handle(session, event)

    def kill_once(who: str, epoch: int, epochs: int, metrics: Any) -> None:
        if epoch == 5 and len(starts) == 1:
            os.kill(int(starts[0].worker.rpartition(":")[2]), signal.SIGKILL)

    monkeypatch.setattr(FitSession, "_handle", noting)

    found = taught(run, tmp_path / "ray", runner_with(tmp_path / "a", ThisRay()), epochs=100, views=0, watch=kill_once)

    assert [start.restored for start in starts] == [False, True]
    monkeypatch.undo()
    assert found == taught(run, tmp_path / "local", runner_with(tmp_path / "b"), epochs=100, views=0)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "local")


QUICK: dict[str, Any] = {
    "data": {"kind": "digits", "limit": 240},
    "execution": {"executor": "local", "checkpoint_seconds": 0.2},
    "tracking": {"enabled": False},
}


def interrupted(here: Here, store: Path, entries: str, count: int, *command: str) -> None:
    """Start a command, and interrupt it once the store has this number of entries."""
    process = here.start(*command, "--store", str(store))
    until = time.monotonic() + 120
    while sum(1 for path in (store / entries).rglob("*.json")) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, f"no {entries} in two minutes"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "run the same command to continue" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.chaos
def test_an_interrupted_distillation_continues_from_its_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.run({**QUICK, "validation": {"folds": 2}, "members": {"svm": "svm"}})
    run, epochs = reopen(RunFolder(here.newest_run())), 300
    store = tmp_path / "own"

    interrupted(
        here, store, "checkpoints", 1, "distill", "--student", SMALL, "--epochs", str(epochs), "-o", "s", "--views", "2"
    )

    assert not (tmp_path / "s").exists()
    seen: list[int] = []
    found = taught(
        run,
        tmp_path / "s",
        runner_with(store),
        epochs=epochs,
        views=2,
        watch=lambda who, epoch, epochs, metrics: seen.append(epoch),
    )
    assert seen[0] > 1 and seen[-1] == epochs
    assert found == taught(run, tmp_path / "t", runner_with(tmp_path / "other"), epochs=epochs, views=2)
    assert files_in(tmp_path / "s") == files_in(tmp_path / "t")


@pytest.mark.slow
@pytest.mark.chaos
def test_an_interrupted_soup_continues_with_the_averages_that_it_has_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: four networks in each of ten folds, so ten times four networks and three averages
    here = Here(tmp_path)
    net = {"kind": "net", "arch": {"kind": "mlp", "hidden": [64]}, "epochs": 8, "snapshots": 4}
    here.run({**QUICK, "validation": {"folds": 10}, "members": {"net": net}})
    run = reopen(RunFolder(here.newest_run()))
    store = tmp_path / "store"
    trained = len(list((store / "fits").rglob("*.json")))

    interrupted(here, store, "fits", trained + 10, "soup", "-o", "soup")

    done = len(list((store / "fits").rglob("*.json"))) - trained
    assert 10 <= done < 70
    begun: list[str] = []

    def noting(assignment: Any, *given: Any, **more: Any) -> FitAttempt:
        begun.append(assignment.task.key)
        return FitAttempt(assignment, *given, **more)

    monkeypatch.setattr(stream, "FitAttempt", noting)
    runner = runner_with(store)
    found = make_soup(run, find_candidates(run, runner), tmp_path / "soup", runner)
    assert len(begun) == len(set(begun)) == 70 - done
    other = runner_with(tmp_path / "other")
    assert found == make_soup(run, find_candidates(run, runner), tmp_path / "again", other)
    assert files_in(tmp_path / "soup") == files_in(tmp_path / "again")
