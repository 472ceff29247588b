"""Fit tasks that pretrain: unlabelled images reach every worker, and a deadline leaves what can be gone on from."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from tests.execution.jobs import fitted, hashes, plan_of, run
from tests.execution.test_deadlines import Steered

from quorate.data.dataset import ArrayImages
from quorate.execution.base import Executor, Session
from quorate.execution.events import Event, OutOfTime, Reported, Started
from quorate.execution.local import LocalExecutor
from quorate.plan.tasks import Plan

PRETRAINED = {
    "kind": "net",
    "arch": {"kind": "small_cnn", "width": 8},
    "epochs": 2,
    "pretrain": {"kind": "simclr", "epochs": 3, "batch_size": 64},
}
UNLABELLED = ArrayImages(np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8))


def with_unlabelled(members: dict) -> Plan:
    plan = plan_of(members, validation={"scheme": "holdout", "fraction": 0.3})
    return replace(plan, context=replace(plan.context, unlabelled=UNLABELLED))


def test_unlabelled_images_reach_a_worker_and_count(executor: Executor) -> None:
    plan = with_unlabelled({"cnn": PRETRAINED})
    without = replace(plan, context=replace(plan.context, unlabelled=None))

    events = run(executor, plan)

    assert hashes(events) == hashes(run(LocalExecutor(), plan)) != hashes(run(LocalExecutor(), without))
    epochs = [(event.epoch, "pretrain_loss" in event.metrics) for event in events if isinstance(event, Reported)]
    assert epochs == [(1, True), (2, True), (3, True), (4, False), (5, False)]


def test_a_deadline_in_the_pretraining_gives_no_member_and_the_fit_goes_on_to_the_same_bits() -> None:
    # given: a deadline that comes with the second epoch of the pretraining
    plan = with_unlabelled({"cnn": PRETRAINED})
    steered, checkpoints = Steered.without_end(), {}

    def due_now(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and event.epoch == 2 and not steered.due:
            steered.due.append(time.monotonic())

    executor = LocalExecutor()

    # when
    cut = run(executor, plan, on=due_now, checkpoints=checkpoints, agenda=steered)
    again = run(LocalExecutor(), plan, checkpoints=checkpoints)

    # then
    assert not fitted(cut) and isinstance(cut[-1], OutOfTime), "it has learned nothing of the labels"
    assert any(event.restored for event in again if isinstance(event, Started))
    (whole,) = fitted(again).values()
    assert whole.complete and len(whole.history) == 5
    assert hashes(again) == hashes(run(LocalExecutor(), plan))
