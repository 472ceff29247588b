"""The session that the folds, the features and the refits of a job share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.features import ARCH, job, write_weights
from tests.jobs import SMALL, Here

from quorate.execution.base import Policy, Session
from quorate.execution.events import Event, Featured, Fitted, Started
from quorate.execution.local import LocalExecutor, LocalSession
from quorate.plan.tasks import DataAddition, FeatureTask, JobData, Unit


class Opened:
    """What the jobs of a test open, and what they place and read."""

    def __init__(self) -> None:
        self.sessions = 0
        self.additions: list[DataAddition] = []
        self.events: list[Event] = []
        self.submitted: list[tuple[int, list[str]]] = []
        """The labels of the tasks, and the number of events before."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    seen, open_, submit = Opened(), LocalExecutor.open, LocalSession.submit
    place, events = LocalSession.place, LocalSession.events

    @contextmanager
    def counting(executor: LocalExecutor, data: JobData, policy: Policy) -> Iterator[Session]:
        seen.sessions += 1
        with open_(executor, data, policy) as session:
            yield session

    def submitting(session: LocalSession, units: Iterable[Unit]) -> None:
        chosen = list(units)
        seen.submitted.append((len(seen.events), [task.label for unit in chosen for task in unit.tasks]))
        submit(session, chosen)

    def placing(session: LocalSession, addition: DataAddition) -> None:
        seen.additions.append(addition)
        place(session, addition)

    def reading(session: LocalSession) -> Iterator[Event]:
        for event in events(session):
            seen.events.append(event)
            yield event

    monkeypatch.setattr(LocalExecutor, "open", counting)
    monkeypatch.setattr(LocalSession, "submit", submitting)
    monkeypatch.setattr(LocalSession, "place", placing)
    monkeypatch.setattr(LocalSession, "events", reading)
    return seen


def test_folds_and_refits_share_a_session_and_the_vectors_are_placed_once(tmp_path: Path, opened: Opened) -> None:
    weights = write_weights(tmp_path / "tiny.safetensors")
    tree = job(weights, members={"logistic": {"kind": "logistic"}})

    Here(tmp_path).run({**tree, "production": {"refit": True}})

    assert opened.sessions == 1
    assert sum(isinstance(event, Fitted) for event in opened.events) == 3, "two folds and all rows"
    assert [(len(a.backbones), len(a.train), len(a.test)) for a in opened.additions] == [
        (1, 0, 0), (0, 1, 1), (0, 0, 0),
    ]  # fmt: skip
    assert opened.additions[-1].folds is not None, "the refits have one fold, of all rows"
    (vectors,) = opened.additions[1].train
    pieces = [event.matrix for event in opened.events if isinstance(event, Featured) and event.task.part == "train"]
    np.testing.assert_array_equal(vectors.matrix, np.concatenate(pieces))


def test_a_job_without_work_opens_no_session(tmp_path: Path, opened: Opened) -> None:
    here = Here(tmp_path)
    here.run(SMALL)
    assert opened.sessions == 1

    here.run(SMALL)

    assert opened.sessions == 1


def test_features_come_first_and_members_without_them_are_not_held_back(tmp_path: Path, opened: Opened) -> None:
    weights = write_weights(tmp_path / "tiny.safetensors")
    tree = job(weights, members={"logistic": {"kind": "logistic"}})
    tree["members"]["pixels"] = {"kind": "naive_bayes"}

    Here(tmp_path).run(tree)

    starts = [event.task for event in opened.events if isinstance(event, Started)]
    assert [isinstance(task, FeatureTask) for task in starts] == [True, True, False, False, False, False]
    assert opened.submitted == [(0, [ARCH] * 2 + ["pixels"] * 2), (4, ["logistic"] * 2)]
