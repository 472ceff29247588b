"""Train single networks for a command: in a session, with the store for results and checkpoints, outside of a job."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NoReturn, Self

from quorate.errors import UserError
from quorate.execution.base import Executor, Policy, Sources
from quorate.execution.events import Checkpointed, Event, Failed, Fitted, Predicted, Reported
from quorate.execution.interrupt import StopRequest
from quorate.execution.silence import Patience
from quorate.execution.workplace import Workplace
from quorate.job.ensemble import JobFailed
from quorate.job.intake import AttemptHistory
from quorate.job.session import JobSession
from quorate.plan.identity import predict_key
from quorate.plan.tasks import FitTask, JobData, PredictTask, Unit
from quorate.results.results import Fit, Results
from quorate.spec import ExecutionSpec
from quorate.store import Store

Outcome = Reported | Fit | Predicted | Failed
"""What happens to a task: the metrics of an epoch, its result, or its failure, after which it is not tried again."""


@dataclass(frozen=True)
class FitRunner:
    """Where a command trains its networks, the store of their results, and the signals that stop them."""

    place: Workplace
    results: Results
    stop: StopRequest

    @classmethod
    @contextmanager
    def opened(
        cls, store: Store, stop: StopRequest, executor: Literal["ray", "local"] = "local", address: str | None = None
    ) -> Iterator[Self]:
        """Close the executor at the end, if it was needed."""

        def opened(executor: Executor | None) -> None:
            stop.install()  # Ray has replaced the signal handlers

        with Workplace(executor, address, opened) as place:
            yield cls(place, Results(store), stop)

    @contextmanager
    def session(self, data: JobData, spec: ExecutionSpec) -> Iterator[FitSession]:
        """A session on `data`, which is opened when a task is not in the store."""
        with JobSession(self.stop) as session:
            yield FitSession(self, data, spec, session)


@dataclass
class FitSession:
    """Fits and test predictions: those in the store are reused, the others are trained and stored.

    A stopped task continues from its checkpoint when it is submitted again, also by another process.
    """

    _runner: FitRunner
    data: JobData
    _spec: ExecutionSpec
    _session: JobSession
    _found: deque[Fit | Predicted] = field(default_factory=deque)
    _new: list[FitTask | PredictTask] = field(default_factory=list)

    def submit(self, tasks: Iterable[FitTask | PredictTask]) -> None:
        """Add tasks, at any time. The fit of a prediction must have ended."""
        results = self._runner.results
        for task in tasks:
            if isinstance(task, FitTask):
                if (fit := results.find(task)) is not None:
                    self._session.fits[task.key] = fit
                    self._found.append(fit)
                    continue
            elif (proba := results.prediction(task)) is not None:
                self._found.append(Predicted(task, proba))
                continue
            self._new.append(task)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what happens until all tasks have ended, also those that the caller submits in between.

        Raises `Interrupted` after a signal; results and checkpoints are in the store by then.
        """
        heard = AttemptHistory()
        while self._found or self._new:
            yield from self._take_found()
            if not self._new:
                return
            destination = self._runner.results.destination()
            self._session.open(self._runner.place.executor(), self.data, self._policy(), destination)
            self._submit_new()
            for event in self._session.events():
                if (outcome := self._handle(heard.judge(event))) is not None:
                    yield outcome
                yield from self._take_found()
                self._submit_new()
            self._runner.stop.check()

    def result(self, task: FitTask) -> Fit:
        """Submit one task and wait for its result; raises the errors of `raise_failure`."""
        self.submit([task])
        fit: Fit | None = None
        for outcome in self.outcomes():
            if isinstance(outcome, Failed):
                raise_failure(outcome, task.label)
            if isinstance(outcome, Fit):
                fit = outcome
        assert fit is not None, "without a failure or a signal, there is a result"
        return fit

    def files(self, fit: Fit) -> dict[str, bytes]:
        """The files of a finished member."""
        return self._runner.results.files(fit)

    def _take_found(self) -> Iterator[Outcome]:
        while self._found:
            yield self._found.popleft()

    def _submit_new(self) -> None:
        new, self._new = self._new, []
        if new:
            self._session.submit(Unit((task,)) for task in new)

    def _policy(self) -> Policy:
        spec, results, fits = self._spec, self._runner.results, self._session.fits
        return Policy(
            retries=spec.retries,
            lost_workers=spec.lost_workers,
            patience=Patience(factor=spec.silence_factor),
            checkpoint_seconds=spec.checkpoint_seconds,
            workers=spec.workers,
            sources=Sources(results.checkpoint, lambda task: results.files(fits[task.key])),
        )

    def _handle(self, event: Event) -> Outcome | None:
        """Store what an event brings; returns what the caller must know."""
        results = self._runner.results
        if isinstance(event, Checkpointed):
            results.keep_checkpoint(event)
        elif isinstance(event, Fitted):
            fit = results.keep(event)
            results.drop_checkpoint(event.task)
            if event.test is not None and self.data.test is not None:
                results.keep_prediction(predict_key(event.task.result_key, self.data.test), event.test)
            self._session.fits[event.task.key] = fit
            return fit
        elif isinstance(event, Predicted):
            results.keep_predicted(event)
            return event
        elif isinstance(event, Failed) and event.final:
            if event.status == "diverged" and isinstance(event.task, FitTask):
                results.drop_checkpoint(event.task)  # its state cannot be continued
            return event
        return event if isinstance(event, Reported) else None


def raise_failure(failed: Failed, who: str, *, on: str = "", hint: str = "") -> NoReturn:
    """Raise `UserError` if a fit failed by an error, and `JobFailed` if its workers died."""
    message = f"{who} cannot be trained{f' {on}' if on else ''}: {failed.message}{hint}"
    if failed.status == "lost":
        raise JobFailed(message)
    raise UserError(message)
