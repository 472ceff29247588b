"""A fit in steps: its first epochs are a task with a result of its own, and the whole fit goes on from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.execution.jobs import plan_of, task_of
from tests.jobs import runner_with

from quorate.execution.events import Reported
from quorate.plan.steps import until
from quorate.plan.tasks import FitTask, Plan
from quorate.results.results import Fit
from quorate.spec import ExecutionSpec

NET = {"kind": "net", "arch": {"kind": "mlp", "hidden": [8]}, "epochs": 5}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of({"net": NET, "early": {**NET, "early_stopping": {"patience": 1}, "lr": 5.0}})


def fitted(plan: Plan, store: Path, task: FitTask) -> tuple[Fit, list[int]]:
    """The result of a task, and the epochs that were trained for it."""
    epochs = list[int]()
    with runner_with(store).session(plan.context, ExecutionSpec()) as session:
        session.submit([task])
        for outcome in session.outcomes():
            if isinstance(outcome, Reported):
                epochs.append(outcome.epoch)
            else:
                fit = outcome
    assert isinstance(fit, Fit)
    return fit, epochs


def test_each_step_continues_the_one_before_and_the_whole_fit_is_as_without_steps(plan, tmp_path):
    task = task_of(plan, "net")
    alone, _ = fitted(plan, tmp_path / "alone", task)

    first, epochs = fitted(plan, tmp_path / "steps", until(task, 2))
    assert (epochs, len(first.history), first.complete) == ([1, 2], 2, True)
    second, epochs = fitted(plan, tmp_path / "steps", until(task, 4))
    assert epochs == [3, 4]
    whole, epochs = fitted(plan, tmp_path / "steps", task)
    assert epochs == [5]

    assert np.array_equal(whole.valid, alone.valid)
    assert whole.files == alone.files, "named by their content"
    again, epochs = fitted(plan, tmp_path / "steps", until(task, 2))
    assert epochs == [] and again.reused and np.array_equal(again.valid, first.valid)
    assert len({first.task.key, second.task.key, whole.task.key}) == 3


def test_the_result_of_a_step_does_not_depend_on_how_it_was_reached(plan, tmp_path):
    task = task_of(plan, "net")
    step, _ = fitted(plan, tmp_path / "one", until(task, 3))
    fitted(plan, tmp_path / "two", until(task, 2))

    other, epochs = fitted(plan, tmp_path / "two", until(task, 3))

    assert epochs == [3]
    assert np.array_equal(other.valid, step.valid)


def test_a_state_that_was_kept_without_its_result_gives_the_result_without_training(plan, tmp_path):
    task = task_of(plan, "net")
    step, _ = fitted(plan, tmp_path / "store", until(task, 3))
    runner_with(tmp_path / "store").store.set_aside("fits", until(task, 3).result_key)

    again, epochs = fitted(plan, tmp_path / "store", until(task, 3))

    assert epochs == []
    assert np.array_equal(again.valid, step.valid)


def test_a_state_with_more_epochs_is_not_used_for_an_earlier_step(plan, tmp_path):
    task = task_of(plan, "net")
    fitted(plan, tmp_path / "store", until(task, 4))

    earlier, epochs = fitted(plan, tmp_path / "store", until(task, 1))

    assert epochs == [1] and len(earlier.history) == 1


def test_a_fit_that_stops_early_by_itself_is_the_whole_fit_too(plan, tmp_path):
    task = task_of(plan, "early")
    step, _ = fitted(plan, tmp_path / "store", until(task, 4))
    assert len(step.history) < 4, "this learning rate is too high"

    whole, epochs = fitted(plan, tmp_path / "store", task)

    assert epochs == [] and whole.reused
    assert np.array_equal(whole.valid, step.valid)


def test_a_step_is_halved_like_the_whole_fit(plan):
    def halved(task: FitTask) -> FitTask:
        return replace(task, halved=True)

    task: Any = task_of(plan, "net")

    assert halved(until(task, 2)).state_key == halved(task).state_key == halved(task).result_key
    assert halved(until(task, 2)).result_key != until(task, 2).result_key


def test_another_fit_begins_with_the_state_that_was_kept_after_a_step(plan, tmp_path):
    task = replace(task_of(plan, "net"), kept=True)
    step = until(task, 2)
    fitted(plan, tmp_path, step)
    whole, _ = fitted(plan, tmp_path, task)
    earlier = {"member": "net", "epochs": [{"until": 2, "params": {}}]}
    params = type(task.params).model_validate({**NET, "earlier": earlier})
    heir = replace(task, key="heir", params=params, origin=step.key)

    continued, epochs = fitted(plan, tmp_path, heir)

    assert epochs == [3, 4, 5]
    assert np.array_equal(continued.valid, whole.valid), "its parameters are the same"


def test_a_step_without_its_kept_state_is_trained_again(plan, tmp_path):
    step = until(task_of(plan, "net"), 2)
    fitted(plan, tmp_path, step)

    _, epochs = fitted(plan, tmp_path, replace(step, kept=True))
    assert epochs == [], "its checkpoint is that state"
    _, epochs = fitted(plan, tmp_path, replace(step, kept=True))
    assert epochs == []
    fitted(plan, tmp_path, until(task_of(plan, "net"), 4))
    store = runner_with(tmp_path).store
    (state,) = [key for key in store.keys("checkpoints") if key != step.state_key]
    store.drop("checkpoints", state)

    again, epochs = fitted(plan, tmp_path, replace(step, kept=True))

    assert epochs == [1, 2] and not again.reused
