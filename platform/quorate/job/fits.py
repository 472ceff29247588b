"""Train single networks for a command: in a session, with the store for results and checkpoints, outside of a job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NoReturn, Self

from quorate.errors import UserError
from quorate.execution.base import Executor, Sources
from quorate.execution.events import Checkpointed, Event, Failed, Fitted, Predicted, Reported, held_in
from quorate.execution.interrupt import StopRequest
from quorate.execution.workplace import Workplace
from quorate.job.commits import CommitQueue, WaitingStates
from quorate.job.ensemble import JobFailed
from quorate.job.intake import AttemptHistory
from quorate.job.lease import fits_lease
from quorate.job.outages import StoreOutages
from quorate.job.session import JobSession, policy_of
from quorate.plan.tasks import FitTask, JobData, PredictTask, Unit
from quorate.results.results import Fit, Results
from quorate.spec import ExecutionSpec
from quorate.store import Lease, Store

Outcome = Reported | Fit | Predicted | Failed
"""What happens to a task: the metrics of an epoch, its result, or its failure, after which it is not tried again."""


@dataclass(frozen=True)
class FitRunner:
    """Where a command trains its networks, the store of their results, the signals that stop them, and who hears of
    waits."""

    place: Workplace
    store: Store
    stop: StopRequest
    say: Callable[[str], None]

    @classmethod
    @contextmanager
    def opened(
        cls,
        store: Store,
        stop: StopRequest,
        executor: Literal["ray", "local"],
        address: str | None,
        say: Callable[[str], None],
    ) -> Iterator[Self]:
        """Close the executor at the end, if it was needed."""

        def opened(executor: Executor | None) -> None:
            stop.install()  # Ray has replaced the signal handlers

        with Workplace(executor, address, opened) as place:
            yield cls(place, store, stop, say)

    @property
    def results(self) -> Results:
        return Results(self.store)

    @contextmanager
    def session(self, data: JobData, spec: ExecutionSpec) -> Iterator[FitSession]:
        """A session on `data`, which is opened when a task is not in the store."""
        outages = StoreOutages(self.say, stopping=lambda: self.stop.requested)
        states = WaitingStates(self.results)
        commits = CommitQueue(outages, self.stop, states)
        with ExitStack() as leases, JobSession(self.stop) as session, commits:
            yield FitSession(self, data, spec, session, outages, leases, commits, states)


@dataclass
class FitSession:
    """Fits and test predictions: those in the store are reused, the others are trained and stored.

    A stopped task continues from its checkpoint when it is submitted again, also by another process. Of two processes
    that begin with the same fits, the second waits for the first, and then reuses its results.
    """

    _runner: FitRunner
    data: JobData
    _spec: ExecutionSpec
    _session: JobSession
    _outages: StoreOutages
    _leases: ExitStack
    _commits: CommitQueue
    _states: WaitingStates
    _lease: Lease | None = None
    """Held from the first fits on that are not in the store."""
    _done: deque[Fit | Predicted | Failed] = field(default_factory=deque)
    """What the caller must know: results from the store, and those that `_commits` has written since."""
    _new: list[FitTask | PredictTask] = field(default_factory=list)

    def submit(self, tasks: Iterable[FitTask | PredictTask]) -> None:
        """Add tasks, at any time. The fit of a prediction must have ended.

        Raises `JobFailed` if another process takes the lease.
        """
        new = self._not_found(tasks)
        fits = [task for task in new if isinstance(task, FitTask)]
        if fits and self._lease is None:
            runner = self._runner
            self._lease = self._leases.enter_context(fits_lease(runner.store, fits, runner.stop, say=runner.say))
            new = self._not_found(new)  # another process may have held the lease
        self._new += new

    def _not_found(self, tasks: Iterable[FitTask | PredictTask]) -> list[FitTask | PredictTask]:
        """The tasks that are not in the store; the results of the others are kept for the caller."""
        results, missing = self._runner.results, []
        for task in tasks:
            if isinstance(task, FitTask):
                fit = self._outages.call(partial(results.find, task))
                if fit is not None:
                    self._session.fits[task.key] = fit
                    self._done.append(fit)
                    continue
            else:
                proba = self._outages.call(partial(results.prediction, task))
                if proba is not None:
                    self._done.append(Predicted(task, proba))
                    continue
            missing.append(task)
        return missing

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what happens until all tasks have ended, also those that the caller submits in between.

        Raises `Interrupted` after a signal; results and checkpoints are in the store by then.
        """
        attempts = AttemptHistory()
        while self._done or self._new:
            yield from self._take_done()
            if not self._new:
                return
            destination = self._runner.results.destination()
            policy = policy_of(self._spec, sources=self._sources())
            self._session.open(self._runner.place.executor(), self.data, policy, destination)
            self._submit_new()
            for event in self._session.events():
                event = attempts.compared(event)
                if isinstance(event, Reported):
                    yield event
                self._put(event)
                del event  # it may hold a result with its weights, and the next one can take hours
                yield from self._take_done()
                self._submit_new()
            self._commits.drain()
            yield from self._take_done()
            self._runner.stop.check()
            if self._lease is not None:
                self._lease.check()

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
        return self._outages.call(lambda: self._runner.results.files(fit))

    def _take_done(self) -> Iterator[Outcome]:
        while self._done:
            yield self._done.popleft()

    def _submit_new(self) -> None:
        new, self._new = self._new, []
        if new:
            self._session.submit(Unit((task,)) for task in new)

    def _sources(self) -> Sources:
        fits = self._session.fits
        return Sources(
            lambda task: self._outages.call(lambda: self._states.read(task)),
            lambda task: self.files(fits[task.key]),
        )

    def _put(self, event: Event) -> None:
        """Let the thread of commits store what an event brings, and then add it to what the caller must know."""
        if isinstance(event, Checkpointed):
            self._commits.put_state(event)
        elif isinstance(event, Fitted | Predicted) or (isinstance(event, Failed) and event.final):
            self._commits.put(held_in(event), partial(self._store, event), partial(self._report, event))

    def _store(self, event: Fitted | Predicted | Failed) -> None:
        """Store a result; may be repeated."""
        results = self._runner.results
        if isinstance(event, Fitted):
            self._session.fits[event.task.key] = results.keep_all(event, self.data.test)
        elif isinstance(event, Predicted):
            results.keep_predicted(event)
        elif event.status == "diverged" and isinstance(event.task, FitTask):
            results.drop_checkpoint(event.task)  # its state cannot be continued

    def _report(self, event: Fitted | Predicted | Failed) -> None:
        self._done.append(self._session.fits[event.task.key] if isinstance(event, Fitted) else event)


def raise_failure(failed: Failed, who: str, *, on: str = "", hint: str = "") -> NoReturn:
    """Raise `UserError` if a fit failed by an error, and `JobFailed` if its workers died."""
    message = f"{who} cannot be trained{f' {on}' if on else ''}: {failed.message}{hint}"
    if failed.status == "lost":
        raise JobFailed(message)
    raise UserError(message)
