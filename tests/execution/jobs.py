"""Small plans on the digits, and what an executor made of them."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.execution import odd_members, packed_members  # noqa: F401  (register kinds)

from quorate.execution.base import Executor, Policy, Session, Sources
from quorate.execution.budget import Agenda
from quorate.execution.events import Checkpointed, Event, Failed, Fitted
from quorate.execution.local import LocalExecutor
from quorate.plan.opening import open_data
from quorate.plan.planner import make_plan
from quorate.plan.tasks import FitTask, Plan, Unit
from quorate.spec import file as jobfile
from quorate.spec import job as spec

CNN = {"kind": "net", "arch": "small_cnn", "epochs": 4, "schedule": "one_cycle", "dropout": 0.2, "augment": {"crop": 1}}


def plan_of(members: dict[str, Any], **rest: Any) -> Plan:
    """A plan on 300 digits in two folds."""
    tree = {"data": {"kind": "digits", "limit": 300}, "validation": {"folds": 2}, "members": members, **rest}
    job = spec.validate(jobfile.Source("test", tree, {}), base=Path())
    return make_plan(job.spec, open_data(job), LocalExecutor())


def run(
    executor: Executor,
    plan: Plan,
    *,
    policy: Policy | None = None,
    on: Callable[[Event, Session], None] = lambda event, session: None,
    checkpoints: dict[str, bytes] | None = None,
    agenda: Agenda | None = None,
) -> list[Event]:
    """All events; checkpoints are kept and given back as a store would."""
    kept = checkpoints if checkpoints is not None else {}
    events = []
    given = replace(policy or Policy(), sources=Sources(lambda task: kept.get(task.key)), agenda=agenda)
    with executor.open(plan.context, given) as session:
        session.submit(Unit((task,)) for task in plan.tasks)
        for event in session.events():
            if agenda is not None:
                agenda.estimates.on(event, time.monotonic())
            if isinstance(event, Checkpointed):
                kept[event.task.key] = event.content
            on(event, session)
            events.append(event)
    return events


def fitted(events: list[Event]) -> dict[str, Fitted]:
    return {event.task.key: event for event in events if isinstance(event, Fitted)}


def failures(events: list[Event]) -> list[Failed]:
    return [event for event in events if isinstance(event, Failed)]


def hashes(events: list[Event]) -> dict[str, str]:
    """SHA-256 of the validation probabilities of each task."""
    return {key: hashlib.sha256(event.valid.tobytes()).hexdigest() for key, event in fitted(events).items()}


def spooled_files(folder: Path) -> int:
    """The number of files without a name in a folder that this process has open."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = str(link.readlink())
            found += name.startswith(f"{folder}/") and name.endswith(" (deleted)")
    return found


def task_of(plan: Plan, member: str, fold: int = 0) -> FitTask:
    return next(task for task in plan.tasks if task.member == member and task.fold == fold)
