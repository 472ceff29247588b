"""What the faults of many schedules cost, by the kind of the fault: as JSON and as a Markdown table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.injector import Outcome
from tests.chaos.recovery import Recovery


@dataclass(frozen=True)
class FaultRow:
    """All faults with one name."""

    name: str
    place: str
    given: int
    recoveries: int
    """The number of fit tasks that recovered from one."""
    restart_seconds: float | None
    """Median from the fault to the start of the new attempt; None if no task started again."""
    median_seconds: float | None
    worst_seconds: float | None
    """From the fault to the next epoch of the task."""

    @classmethod
    def of(cls, name: str, place: str, given: int, found: Sequence[Recovery]) -> FaultRow:
        seconds = [one.seconds for one in found]
        restarts = [one.restart_seconds for one in found if one.restart_seconds is not None]
        worst = round(max(seconds), 1) if seconds else None
        return cls(name, place, given, len(found), _median(restarts), _median(seconds), worst)


@dataclass(frozen=True)
class Summary:
    """The outcomes of schedules with consecutive seeds."""

    date: str
    machine: str
    first_seed: int
    schedules: int
    same_bits: int
    failed_seeds: tuple[int, ...]
    rows: tuple[FaultRow, ...]
    attempts: int
    """The number of attempts that followed another one."""
    most_repeated: int
    """The most epochs that one of them trained again."""
    mean_repeated: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The table of `docs/reliability.md`, with a line about how it was made."""
        head = [
            f"{self.same_bits} of {self.schedules} schedules (seeds {self.first_seed} to "
            f"{self.first_seed + self.schedules - 1}) ended with the bits of the undisturbed job. {self.date}, "
            f"{self.machine}. Of {self.attempts} attempts after a fault, each trained {self.mean_repeated:.2f} epochs "
            f"again on average and {self.most_repeated} at most.",
            "",
            "| fault | given | recovered | new attempt after, median s | next epoch after, median s | worst s |",
            "|---|---|---|---|---|---|",
        ]
        rows = [
            f"| {row.name} | {row.given} | {row.recoveries} | {_text(row.restart_seconds)} "
            f"| {_text(row.median_seconds)} | {_text(row.worst_seconds)} |"
            for row in self.rows
        ]
        return "\n".join([*head, *rows]) + "\n"


def summary(outcomes: Sequence[Outcome]) -> Summary:
    given: dict[str, int] = defaultdict(int)
    found: dict[str, list[Recovery]] = defaultdict(list)
    for outcome in outcomes:
        for fault, recovered in zip(outcome.given, outcome.recoveries, strict=True):
            given[fault.planned.name] += 1
            found[fault.planned.name] += recovered
    rows = [FaultRow.of(name, FAULTS[name].place, given[name], found[name]) for name in FAULTS if given[name]]
    for place in dict.fromkeys(fault.place for fault in FAULTS.values()):
        names = [name for name in given if FAULTS[name].place == place]
        if place in ("worker", "host") and names:
            every = [one for name in names for one in found[name]]
            rows.append(FaultRow.of(f"**all of a {place}**", place, sum(given[name] for name in names), every))
    again = [number for outcome in outcomes for number in outcome.repeated]
    failed = tuple(outcome.schedule.seed for outcome in outcomes if outcome.problem)
    return Summary(
        time.strftime("%Y-%m-%d"),
        _machine(),
        outcomes[0].schedule.seed,
        len(outcomes),
        len(outcomes) - len(failed),
        failed,
        tuple(rows),
        len(again),
        max(again, default=0),
        statistics.mean(again) if again else 0.0,
    )


def _machine() -> str:
    """The number of cores and the processor."""
    lines: Iterable[str] = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    return f"{os.cpu_count()} cores, {model}"


def _median(seconds: Sequence[float]) -> float | None:
    return round(statistics.median(seconds), 1) if seconds else None


def _text(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
