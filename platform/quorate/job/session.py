"""The session of a job: opened by the first training that needs workers, and used by those that follow."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from quorate.data.extracted import Extracted
from quorate.data.folds import Folds
from quorate.execution.base import Executor, Policy, Session, Sources
from quorate.execution.budget import Agenda
from quorate.execution.content import Destination
from quorate.execution.events import Event
from quorate.execution.interrupt import StopRequest
from quorate.execution.silence import Patience
from quorate.members.backbone import Backbone
from quorate.plan.tasks import DataAddition, JobData, Task, Unit
from quorate.results.results import Fit
from quorate.spec import ExecutionSpec


def policy_of(spec: ExecutionSpec, *, sources: Sources, agenda: Agenda | None = None) -> Policy:
    """How a session treats its tasks, by the `execution` section of the job file."""
    return Policy(
        retries=spec.retries,
        lost_workers=spec.lost_workers,
        patience=Patience(factor=spec.silence_factor),
        checkpoint_seconds=spec.checkpoint_seconds,
        workers=spec.workers,
        sources=sources,
        agenda=agenda,
    )


class JobSession:
    """The folds, the features, the test predictions and the refits of a job share a session and its workers.

    The data of the job are placed once. A context manager: the session ends with it.
    """

    def __init__(self, stop: StopRequest) -> None:
        self._stop, self._stack = stop, ExitStack()
        self._session: Session | None = None
        self._folds: Folds | None = None
        self._backbones: set[Backbone] = set()
        self._vectors: set[tuple[str, Hashable]] = set()
        """The parts and the networks whose feature vectors have been placed."""
        self.fits: dict[str, Fit] = {}
        """Finished fits that predict the test rows, by the key of their task."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        self._stack.close()

    def open(
        self, executor: Executor, data: JobData, policy: Policy, destination: AbstractContextManager[Destination]
    ) -> None:
        """Open the session, whose workers write to `destination`; if it is open, only the folds of `data` are placed.

        The later data have the same rows, and the policy stays that of the first call.
        """
        if self._session is None:
            writing = replace(policy, destination=self._stack.enter_context(destination))
            self._session = self._stack.enter_context(executor.open(data, writing))
        elif data.folds is not self._folds:
            self._session.place(DataAddition(folds=data.folds))
        self._folds = data.folds

    def place(self, addition: DataAddition) -> None:
        """Place weights and vectors of frozen networks, unless they have been placed before."""
        assert self._session is not None
        backbones = {one: weights for one, weights in addition.backbones.items() if one not in self._backbones}
        train, test = self._new("train", addition.train), self._new("test", addition.test)
        if backbones or train or test:
            self._session.place(DataAddition(backbones=backbones, train=train, test=test))
            self._backbones |= backbones.keys()

    def submit(self, units: Iterable[Unit]) -> None:
        assert self._session is not None
        self._session.submit(units)

    def cancel(self, task: Task) -> None:
        """End a task without a result."""
        assert self._session is not None
        self._session.cancel(task)

    def events(self) -> Iterator[Event]:
        """Yield the events of the session; meanwhile, signals stop it."""
        assert self._session is not None
        self._stop.attach(self._session)
        try:
            yield from self._session.events()
        finally:
            self._stop.attach(None)

    def _new(self, part: str, found: tuple[Extracted, ...]) -> tuple[Extracted, ...]:
        new = tuple(one for one in found if (part, one.backbone) not in self._vectors)
        self._vectors |= {(part, one.backbone) for one in new}
        return new
