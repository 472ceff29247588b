"""Run a job under a schedule, and compare its predictions with those of the undisturbed job."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.driver import Digests, Driver, NothingRunsError
from tests.chaos.faults import Giving
from tests.chaos.recovery import GivenFault, JobTimes, Recovery, repeated_epochs
from tests.chaos.schedule import PlannedFault, Schedule
from tests.chaos.world import World

PATIENCE = 300.0
"""Seconds after which a disturbed job counts as hanging."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended under a schedule."""

    schedule: Schedule
    problem: str
    """Why it did not end as it should; empty if its predictions are those of the undisturbed job."""
    seconds: float
    digests: Digests | None
    given: tuple[GivenFault, ...]
    recoveries: tuple[tuple[Recovery, ...], ...]
    """For each fault, how the fit tasks that it hit recovered."""
    repeated: tuple[int, ...]
    """For each attempt that followed another one, the number of epochs that it trained again."""
    task_seconds: float
    """From the first start of each fit task to its last end, summed."""
    training_seconds: float
    """From the first start of a fit task to the last end."""

    def __str__(self) -> str:
        faults = "; ".join(
            f"{one.planned} {_recovered(found)}" for one, found in zip(self.given, self.recoveries, strict=True)
        )
        missing = len(self.schedule.faults) - len(self.given)
        late = f"; {missing} not given, because the job had ended" if missing else ""
        again = f"; epochs trained twice: {', '.join(map(str, self.repeated))}" if self.repeated else ""
        state = "same bits" if not self.problem else f"FAILED: {self.problem}"
        return f"SEED={self.schedule.seed} {state} in {self.seconds:.0f} s: {faults or 'no fault'}{late}{again}"


def _recovered(found: tuple[Recovery, ...]) -> str:
    return f"({', '.join(f'{one.task} after {one.seconds:.1f} s' for one in found) or 'nothing to recover'})"


@dataclass
class Injector:
    """Gives the faults of a schedule to a job, and ends them."""

    driver: Driver
    schedule: Schedule
    patience: float
    given: list[GivenFault] = field(default_factory=list)
    _open: list[tuple[float, Giving]] = field(default_factory=list)
    """The faults that have not ended, with the times of their ends."""

    def run(self) -> str:
        """Run the job to its end; returns why it failed, empty if it did not."""
        since, begun, waiting = time.monotonic(), None, list(self.schedule.faults)
        self.driver.start()
        try:
            while self.driver.exit_code is None or self._open_of_driver() or self.driver.asks_to_be_run_again:
                now = time.monotonic()
                if self.driver.asks_to_be_run_again:
                    self.driver.start()
                if now - since > self.patience:
                    return f"it has not ended after {self.patience:.0f} s"
                if begun is None and self.driver.trains:
                    begun = now
                if begun is not None and waiting and now - begun >= waiting[0].at and self._give(waiting[0]):
                    waiting.pop(0)
                self._end(now)
                time.sleep(0.03)
        finally:
            self._end(float("inf"))
            self.driver.give_up()
        return f"it ended with code {self.driver.exit_code}" if self.driver.exit_code else ""

    def _open_of_driver(self) -> bool:
        return self.driver.is_away and bool(self._open)

    def _give(self, planned: PlannedFault) -> bool:
        """Give a fault; False if nothing runs now that it could hit."""
        if self.driver.is_away:
            return False
        giving, at = planned.fault.give(self.driver, planned.target), time.time()
        try:
            tasks = next(giving)
        except NothingRunsError:
            return False
        self.given.append(GivenFault(planned, at, tasks))
        self._open.append((time.monotonic() + planned.seconds, giving))
        return True

    def _end(self, now: float) -> None:
        """End the faults whose time has come."""
        for due, giving in [one for one in self._open if one[0] <= now]:
            self._open.remove((due, giving))
            next(giving, None)


def run_job(
    world: World,
    job: dict[str, Any],
    schedule: Schedule,
    folder: Path,
    expected: Digests | None,
    *,
    patience: float = PATIENCE,
) -> Outcome:
    """Run a job under a schedule; without expected digests, it only has to end."""
    since, begun = time.time(), time.monotonic()
    driver = Driver(world, job, folder, schedule.needs)
    injector = Injector(driver, schedule, patience)
    problem = injector.run()
    seconds = time.monotonic() - begun
    times = JobTimes((run / "journal.jsonl" for run in driver.runs), since, time.time())
    digests = None if problem else driver.digests()
    if expected is not None and digests is not None and digests != expected:
        problem = f"its predictions differ: {digests} instead of {expected}"
    if problem:
        problem += f"; the end of its log:\n{driver.log.read_text()[-3000:]}"
    again = tuple(number for counts in repeated_epochs(driver.runs).values() for number in counts)
    recovered = tuple(tuple(times.recoveries(fault)) for fault in injector.given)
    used, lasted = times.use()
    return Outcome(schedule, problem, seconds, digests, tuple(injector.given), recovered, again, used, lasted)
