"""Handle the events of a training: store each result, then write it to the journal and the screen."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial

from quorate.execution.budget import Budget
from quorate.execution.events import (
    ENDS,
    Checkpointed,
    Event,
    Failed,
    Featured,
    Fitted,
    HostSilent,
    NodeAwaited,
    OutOfTime,
    Predicted,
    Reported,
    Silent,
    SoFar,
    Started,
    held_in,
)
from quorate.job.commits import CommitQueue
from quorate.job.job_metrics import JobMetrics, bytes_of
from quorate.job.progress import JobProgress
from quorate.job.tracker import Tracker
from quorate.plan.tasks import FitTask, Plan, PredictTask
from quorate.report.progress import Watch
from quorate.results.results import Results
from quorate.runs.logs import RunLogs
from quorate.training.context import Metrics
from quorate.training.soundness import difference

_PACKING = 1.5
"""Time to read and verify the files of a result and write them to the bundle, as a multiple of the time to store them
(an assumption)."""


@dataclass
class _InterimResult:
    """The newest interim result of a task; its files become blobs as soon as they are written."""

    result: Fitted


class Intake:
    """Takes the events of a training, in a thread that also runs the session.

    The ends of tasks go through `commits` in their order: there, their results are stored and added to `work`, and only
    then they appear in the journal and on the screen. After an event has been handled, nothing holds its bytes.
    """

    def __init__(
        self,
        plan: Plan,
        work: JobProgress,
        results: Results,
        logs: RunLogs,
        tracker: Tracker,
        watch: Watch,
        commits: CommitQueue,
        budget: Budget | None,
        metrics: JobMetrics,
    ) -> None:
        self._plan, self._work, self._results, self._budget = plan, work, results, budget
        self._metrics = metrics
        self._logs, self._tracker, self._watch, self._commits = logs, tracker, watch, commits
        self._attempts = AttemptHistory()
        self._begun: set[str] = set()
        self._so_far: dict[str, _InterimResult] = {}
        self._reporting = threading.Lock()

    def on(self, event: Event) -> Event:
        """Handle an event; returns what it was taken for: a failure can become an interim result, or a result of doubt
        a failure."""
        if isinstance(event, NodeAwaited | Silent | HostSilent):
            with self._reporting:
                self._watch.on(event)
            return event
        event = self._or_interim(event)
        self._metrics.on(event, bytes_of(event))
        event = self._attempts.compared(event)
        self._tracker.attempted(event)
        self._logs.write(event)
        if isinstance(event, Checkpointed):
            self._commits.put_state(event)
            return event
        if isinstance(event, SoFar):
            self._hold(event.result)
            return event
        self._work.estimates.on(event, time.monotonic())
        if isinstance(event, Started):
            self._begun.add(event.task.key)
        if isinstance(event, Fitted):
            self._so_far.pop(event.task.key, None)
        if not isinstance(event, ENDS) or (isinstance(event, Failed) and not event.final):
            self._report(event)
        else:
            self._commits.put(held_in(event), partial(self._store, event), partial(self._report, event))
        return event

    def _or_interim(self, event: Event) -> Event:
        """The last interim result of a network that is out of time or has failed, if there is one; else the event."""
        failed = isinstance(event, Failed) and event.final and event.status != "diverged"
        if not (failed or isinstance(event, OutOfTime)):
            return event
        interim = self._so_far.pop(event.task.key, None)
        if interim is None:
            return event
        if isinstance(event, Failed):
            late = OutOfTime(event.task, True, f"{event.message}; it counts with the epochs that it has trained")
            self._logs.write(event)
            with self._reporting:
                self._watch.on(late)
        return interim.result

    def _hold(self, result: Fitted) -> None:
        """Keep an interim result, and write its files to the store."""
        interim = self._so_far[result.task.key] = _InterimResult(result)

        def write() -> None:
            interim.result = self._results.written(interim.result)

        self._commits.put(held_in(result), write, lambda: None)

    def _report(self, event: Event) -> None:
        with self._reporting:
            if not isinstance(event, OutOfTime) or event.task.key in self._begun:
                self._tracker.on(event)
            self._watch.on(event)

    def _store(self, event: Event) -> None:
        """Store the result of a task that has ended, and add it to the progress; may be repeated."""
        if isinstance(event, Fitted):
            since = time.monotonic()
            self._keep(event)
            if self._budget is not None:
                self._budget.reserve += _PACKING * (time.monotonic() - since)
        elif isinstance(event, Predicted):
            self._keep_predicted(event)
        elif isinstance(event, Featured):
            self._results.keep_features(event)
        elif isinstance(event, Failed | OutOfTime) and isinstance(event.task, FitTask | PredictTask):
            self._give_up(event, event.task.all if isinstance(event.task, FitTask) else (event.task.fit,))

    def _keep(self, event: Fitted) -> None:
        """Store a result and the results of the same fit's other members; a fit that was stopped early can lack some
        of them."""
        for part in event.all:
            self._keep_one(part)
        for task in event.task.others:
            if task.key not in self._work.fits:
                message = "the training was stopped before it produced this member"
                self._work.late[task.key] = OutOfTime(task, True, message)

    def _keep_one(self, event: Fitted) -> None:
        work, results, test = self._work, self._results, self._plan.context.test
        work.failures.pop(event.task.key, None)
        if event.complete:
            work.fits[event.task.key] = results.keep_all(event, test)
        else:
            work.fits[event.task.key] = results.hold(event)  # its checkpoint is kept, so that training can continue
        if event.test is not None and test is not None:
            work.tests[event.task.key] = event.test

    def _keep_predicted(self, event: Predicted) -> None:
        """Store test predictions, unless their model was rejected while the worker predicted the test rows."""
        key = event.task.fit.key
        if key in self._work.fits:
            self._work.tests[key] = event.proba
            if self._work.fits[key].complete:
                self._results.keep_predicted(event)

    def _give_up(self, event: Failed | OutOfTime, fits: tuple[FitTask, ...]) -> None:
        """Note that these fit tasks have no result."""
        for task in fits:
            self._work.fits.pop(task.key, None)
            if isinstance(event, OutOfTime):
                self._work.late[task.key] = event
            else:
                self._work.failures[task.key] = event
                if event.status == "diverged":
                    self._results.drop_checkpoint(task)  # its state cannot be continued


class AttemptHistory:
    """The metrics of each epoch of the first attempt at a fit task, to compare them with those of later attempts."""

    def __init__(self) -> None:
        self._epochs: dict[str, dict[int, Metrics]] = {}

    def compared(self, event: Event) -> Event:
        """Return the event, or a failure if the epochs of a result differ from those of an earlier attempt.

        Attempts on equal processors give equal bits; attempts on different processors give almost equal metrics. Larger
        differences mean that memory was overwritten in one of the attempts, and it is unknown in which one.
        """
        if isinstance(event, Reported):
            self._epochs.setdefault(event.task.result_key, {}).setdefault(event.epoch, event.metrics)
        if not isinstance(event, Fitted):
            return event
        before = self._epochs.get(event.task.result_key, {})
        for epoch, figures in enumerate(event.history, start=1):
            if epoch in before and (found := difference(before[epoch], figures)) is not None:
                message = (
                    f"two attempts at this task differ: in epoch {epoch}, {found}; one of them was corrupted in "
                    "memory, so neither is kept; start the job again, and try another version of torch if this happens "
                    "again"
                )
                return Failed(event.task, 1, "diverged", message)
        return event
