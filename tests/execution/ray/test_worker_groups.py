"""Networks that several workers train together: the same results as one process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.execution.jobs import failures, fitted, plan_of, run

from quorate.execution.base import Session
from quorate.execution.events import Event, Reported, Started
from quorate.execution.local import LocalExecutor
from quorate.execution.ray.executor import RayExecutor
from quorate.plan.tasks import Plan

pytestmark = pytest.mark.system

MLP = {"kind": "net", "arch": "mlp", "epochs": 3, "batch_size": 50, "precision": "float32", "schedule": "one_cycle"}
"""150 training rows: the last batch of an epoch is complete."""


def first_fold(plan: Plan) -> Plan:
    return replace(plan, tasks=plan.tasks[:1])


def test_two_workers_equal_one_process_also_when_one_of_them_is_killed(ray_session: None) -> None:
    # given: the results of one process
    alone = first_fold(plan_of({"mlp": MLP}))
    (single,) = fitted(run(LocalExecutor(), alone)).values()

    # when: two workers train the member, and one is killed after the first epoch
    executor = RayExecutor(own=False)
    plan = first_fold(plan_of({"mlp": MLP | {"workers": 2}}, places=executor))
    killed = []

    def kill(event: Event, session: Session) -> None:
        if isinstance(event, Reported) and not killed:
            killed.append(started[-1].worker)
            os.kill(int(killed[0].partition(":")[2]), signal.SIGKILL)
        if isinstance(event, Started):
            started.append(event)

    started: list[Any] = []
    events = run(executor, plan, on=kill)
    for e in events: print(type(e).__name__, getattr(e, "message", ""), getattr(e, "tail", ""), getattr(e, "restored", ""))

    # then
    (both,) = fitted(events).values()
    print(np.abs(both.valid - single.valid).max(), failures(events))
    print(both.history, single.history)
