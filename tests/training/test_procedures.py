"""Procedures of networks: what they end with, and what a task's key says of them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.execution.jobs import failures, plan_of, run
from tests.members.plain_run import PlainRun

from quorate.data.dataset import Dataset
from quorate.execution.local import LocalExecutor
from quorate.members.net import Net
from quorate.plan.procedures import by_procedure
from quorate.plan.tasks import FitTask, Plan
from quorate.training.context import Signal
from quorate.training.procedures import Distillation, Memorization, Procedure, RangeSweep, WeightAverage

MLP = {"kind": "net", "arch": {"kind": "mlp", "hidden": [16]}, "epochs": 50, "lr": 0.05}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of({"mlp": MLP, "svm": {"kind": "svm"}})


@pytest.fixture(scope="module")
def few(plan: Plan) -> Dataset:
    return plan.context.train.take(np.arange(24))


def followed(plan: Plan, few: Dataset, procedure: Procedure, context: PlainRun | None = None) -> Net:
    made = Net(plan.tasks[0].params, signature=few.signature, n_classes=few.n_classes)
    return made.follow(procedure, few, few, context or PlainRun())


def test_training_ends_with_the_first_epoch_in_which_all_rows_are_memorized(plan: Plan, few: Dataset) -> None:
    procedure = Memorization(0.3)

    history = followed(plan, few, procedure).history

    assert 1 < len(history) < 50
    assert [procedure.reached(figures) for figures in history] == [False] * (len(history) - 1) + [True]
    assert history[-1]["valid_accuracy"] == 1 and history[-1]["valid_loss"] < 0.3


def test_a_network_that_is_resumed_after_it_has_memorized_the_rows_trains_no_further_epoch(
    plan: Plan, few: Dataset
) -> None:
    whole = followed(plan, few, Memorization(0.3)).history
    context = PlainRun()
    context.answers = {len(whole): Signal.CHECKPOINT}

    followed(plan, few, Memorization(0.3), context)
    again = followed(plan, few, Memorization(0.3), context.resumed(len(whole)))

    assert len(again.history) == len(whole)


def test_a_range_test_leaves_the_first_weights_also_if_the_loss_diverges(plan: Plan, few: Dataset) -> None:
    tested = followed(plan, few, RangeSweep(1e-3, 1e8, 40))
    start = followed(plan, few, RangeSweep(1e-3, 2e-3, 2))

    assert len(tested.history) < 40, "it ends when the loss diverges"
    assert np.isfinite(tested.predict_proba(few.x)).all()
    np.testing.assert_array_equal(tested.predict_proba(few.x), start.predict_proba(few.x))


def test_a_procedure_that_the_kind_does_not_support_fails_with_its_name(plan: Plan) -> None:
    svm = next(task for task in plan.tasks if task.member == "svm")
    task = by_procedure(svm, Memorization(0.1))

    *_, last = failures(run(LocalExecutor(), Plan((task,), plan.context)))

    assert last.final and "svm does not support Memorization(loss=0.1)" in last.message


def test_the_key_of_a_task_names_its_procedure_and_everything_that_it_learns_from(plan: Plan) -> None:
    task = plan.tasks[0]
    tasks: list[FitTask] = [
        task,
        *(
            by_procedure(task, procedure)
            for procedure in (
                None,
                Distillation(1.0, 0.5),
                Distillation(2.0, 0.5),
                Distillation(1.0, 0.5, views=2),
                Memorization(0.5),
                RangeSweep(1.0, 2.0, 3),
                WeightAverage((("a/member.json",),)),
                WeightAverage((("a/member.json",), ("b/member.json",))),
            )
        ),
        by_procedure(task, Memorization(0.5), rows="others"),
        by_procedure(plan.tasks[1], Memorization(0.5)),
    ]

    assert len({each.key for each in tasks}) == len(tasks)
    assert by_procedure(task, Memorization(0.5), label="other").key == by_procedure(task, Memorization(0.5)).key
