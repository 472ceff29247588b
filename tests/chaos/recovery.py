"""What the journals and logs of a job say about its faults: work that was done twice, and the time until it went on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quorate.tracking.journal import records
from quorate.tracking.records import AttemptRecord, EndRecord, MetricsRecord, RunRecord, TagsRecord

if TYPE_CHECKING:
    from tests.chaos.schedule import PlannedFault

_DAY_MS = 86_400_000
_GRACE_MS = 300
"""An epoch that ends so soon after a fault may have been on its way before it."""
_EPOCH = re.compile(r"^\S+ epoch (\d+):", re.MULTILINE)


@dataclass(frozen=True)
class GivenFault:
    """A fault as it was given."""

    planned: PlannedFault
    at: float
    """Time of this machine, seconds since 1970."""
    tasks: tuple[str, ...]
    """The fit tasks that it hit."""


@dataclass(frozen=True)
class Recovery:
    """How a fit task recovered from a fault."""

    task: str
    seconds: float
    """From the fault to the next epoch of the task; with a new attempt, the next one in it."""
    restart_seconds: float | None
    """From the fault to the start of the new attempt; None if there was none."""


def running(journal: Path) -> dict[str, str]:
    """The fit tasks of networks that run, with their workers as `HOST:PROCESS`."""
    names: dict[str, str] = {}
    found: dict[str, str] = {}
    for record in records(journal):
        match record:
            case RunRecord(level="fold") if record.params.get("epochs", "").isdigit():
                names[record.uid] = record.name
            case TagsRecord() if record.uid in names and record.host:
                found[names[record.uid]] = f"{record.host}:{record.tags['quorate.worker_process']}"
            case AttemptRecord() if found.get(record.task) == record.worker:
                del found[record.task]
            case EndRecord():
                found.pop(names.get(record.uid, ""), None)
    return found


def has_epochs(journal: Path) -> bool:
    """Whether a fit task has reported an epoch."""
    return any(isinstance(record, MetricsRecord) and record.uid.count("/") == 2 for record in records(journal))


class JobTimes:
    """When the fit tasks of a job started, and when their epochs ended, on the clock of this machine."""

    def __init__(self, journals: Iterable[Path], since: float, until: float) -> None:
        self.attempts: list[AttemptRecord] = []
        self._starts: dict[str, list[int]] = {}
        self._epochs: dict[str, list[int]] = {}
        names: dict[str, str] = {}
        self._middle = int(500 * (since + until))
        for journal in journals:
            for record in records(journal):
                match record:
                    case RunRecord(level="fold"):
                        names[record.uid] = record.name
                    case MetricsRecord() if record.uid in names:
                        self._epochs.setdefault(names[record.uid], []).append(self._true(record.timestamp_ms))
                    case AttemptRecord():
                        self.attempts.append(record)
                        self._starts.setdefault(record.task, []).append(self._true(record.start_ms))

    def _true(self, ms: int) -> int:
        """The time without the day by which a fault has moved the clock."""
        return ms - _DAY_MS * round((ms - self._middle) / _DAY_MS)

    def use(self) -> tuple[float, float]:
        """The seconds from the first start of each task to its last end, summed; and those of all tasks together."""
        spans: dict[str, list[int]] = {}
        for one in self.attempts:
            spans.setdefault(one.task, []).extend([self._true(one.start_ms), self._true(one.end_ms)])
        if not spans:
            return 0.0, 0.0
        every = [ms for times in spans.values() for ms in times]
        return sum(max(times) - min(times) for times in spans.values()) / 1000, (max(every) - min(every)) / 1000

    def recoveries(self, fault: GivenFault) -> list[Recovery]:
        """How the tasks that it hit recovered; without those that had ended before they noticed it."""
        at, found = int(1000 * fault.at), []
        for task in fault.tasks:
            starts = [ms for ms in self._starts.get(task, ()) if ms > at]
            if fault.planned.fault.restarts and not starts:
                continue
            after = min(starts) if fault.planned.fault.restarts else at + _GRACE_MS
            if (epoch := min((ms for ms in self._epochs.get(task, ()) if ms > after), default=None)) is not None:
                start = min((ms for ms in starts if ms < epoch), default=None)
                restart = None if start is None else (start - at) / 1000
                found.append(Recovery(task, (epoch - at) / 1000, restart))
        return found


def repeated_epochs(runs: Sequence[Path]) -> dict[str, list[int]]:
    """By the log of each fit task, the number of epochs that each of its attempts has trained again."""
    found: dict[str, list[int]] = {}
    reached: dict[str, int] = {}
    for run in runs:
        for log in sorted((run / "logs").glob("*.log")):
            for attempt in re.split(r"^\S+ attempt \d+ on .*$", log.read_text(), flags=re.MULTILINE)[1:]:
                epochs = [int(number) for number in _EPOCH.findall(attempt)]
                before = reached.get(log.stem, 0)
                if before:
                    found.setdefault(log.stem, []).append(sum(epoch <= before for epoch in epochs))
                reached[log.stem] = max([before, *epochs])
    return found
