"""Train the trials of a search in the session of a job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from quorate.execution.events import Event, Failed, Fitted, OutOfTime, Stopped
from quorate.job.progress import JobProgress
from quorate.job.training import Trainer
from quorate.plan.tasks import FitTask, Task, Unit
from quorate.search.search import Orders, Search
from quorate.search.trial import FitEnd, Trial


class TrialFeed:
    """Passes the ends of fits to a search, and the tasks that follow to the training.

    Tasks that are in the store have ended at once. `ended` is called with each trial that has ended; `status` says how
    far the search is.
    """

    def __init__(
        self,
        search: Search,
        trainer: Trainer,
        work: JobProgress,
        ended: Callable[[Trial], None],
        status: Callable[[], str],
    ) -> None:
        self._search, self._trainer, self._work, self._ended = search, trainer, work, ended
        self.status = status
        self._new: dict[str, Unit] = {}

    def begin(self, first: Orders) -> list[Unit]:
        """The tasks of the first trials that are not in the store; `first` is what the search begins with."""
        self._follow(first)
        return self.take()

    def on(self, event: Event) -> None:
        task = event.task
        if isinstance(event, Stopped):
            self._search.stop("it was interrupted")
        elif isinstance(task, FitTask) and (end := _end_of(event, task)) is not None:
            if isinstance(event, OutOfTime):  # a result with fewer epochs can also be that of a fit that has failed
                self._search.stop("the time was up")
            self._follow(self._search.on(task.key, end))

    def take(self) -> list[Unit]:
        taken, self._new = list(self._new.values()), {}
        return taken

    def round_of(self, task: Task) -> int:
        """The number of the trial, so that trials are completed in their order; -1 for features."""
        return self._search.number_of(task.key)

    def _follow(self, orders: Orders) -> None:
        """Do what a search orders; what is in the store can lead to further orders."""
        waiting = deque([orders])
        while waiting:
            orders = waiting.popleft()
            for trial in orders.ended:
                self._ended(trial)
            for task in orders.cancel:
                if self._new.pop(task.key, None) is None:
                    self._trainer.session.cancel(task)
            for task in orders.submit:
                fit = self._trainer.outages.call(partial(self._trainer.results.find, task))
                if fit is None:
                    self._new[task.key] = Unit((task,))
                    continue
                self._work.fits[task.key] = fit
                self._trainer.tracker.reused([fit])
                end = FitEnd(fit.valid, _epochs(task, fit.history), fit.seconds, reused=True)
                waiting.append(self._search.on(task.key, end))


def _end_of(event: Event, task: FitTask) -> FitEnd | None:
    """The end of a fit; None if it has not ended, or if nobody waits for it."""
    if isinstance(event, Fitted):
        epochs = _epochs(task, event.history)
        if event.complete:
            return FitEnd(event.valid, epochs, event.seconds)
        return FitEnd(None, epochs, event.seconds, problem=f"out of time after {epochs} epochs", late=True)
    if isinstance(event, Failed) and event.final:
        return FitEnd(None, problem=f"{event.status}: {event.message}")
    return FitEnd(None, problem=f"out of time: {event.message}", late=True) if isinstance(event, OutOfTime) else None


def _epochs(task: FitTask, history: list[dict[str, float]]) -> int:
    """The number of epochs that a fit contains; 0 if its kind has none."""
    return len(history) if task.params.most_epochs is not None else 0
