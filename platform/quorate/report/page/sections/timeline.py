"""The timeline of the job: which worker ran which task, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from quorate.quantities import format_seconds
from quorate.report.page.run import RunData
from quorate.report.page.section import Chart, Remark, Section, good, listed, many, note, percent
from quorate.report.page.svg import clip, drawing, rectangle, rule, text
from quorate.tracking.records import AttemptRecord, Outcome

WIDTH, LEFT, ROW = 860.0, 150.0, 16.0
MOST_LANES, MOST_BARS = 64, 3000
"""Maximum numbers of lanes and of bars that are drawn, so that the page stays small (an assumption)."""
PAUSE = 0.05
"""A pause in which nothing ran is drawn as at most this share of the whole time."""
STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Seconds between two marks of the time axis."""
_IN_WORDS: Mapping[Outcome, tuple[str, str]] = {
    "failed": ("failed with an error", "failed with an error"),
    "diverged": ("diverged", "diverged"),
    "lost": ("was lost with its worker", "were lost with their workers"),
    "memory": ("exhausted the memory", "exhausted the memory"),
}
PROBLEMS = frozenset(_IN_WORDS)
RESULTS: frozenset[Outcome] = frozenset({"fitted", "predicted", "extracted"})
"""The outcomes of attempts that failed, and of those that gave a result; the others were stopped."""


@dataclass(frozen=True)
class Lane:
    """Attempts on one host that did not overlap; a host has as many lanes as it ran tasks at the same time."""

    host: str
    attempts: Sequence[AttemptRecord]


def section(run: RunData) -> Section | None:
    """The section; None if the journal has no attempts."""
    if not run.attempts:
        return None
    attempts = [replace(one, end_ms=max(one.start_ms, one.end_ms)) for one in run.attempts]  # a clock was set back
    lanes = lanes_of(attempts)
    hidden = len(lanes) - MOST_LANES
    notes = [f"{many(hidden, 'more lane')} not drawn."] if hidden > 0 else []
    return Section(
        "timeline",
        "Timeline",
        "Each lane shows tasks that a host ran one after another. In a gap, a worker starts, waits for data, or has "
        "nothing to do.",
        list(_remarks(attempts, lanes)),
        {"chart": _chart(lanes[:MOST_LANES]), "notes": notes},
    )


def lanes_of(attempts: Sequence[AttemptRecord]) -> list[Lane]:
    """Sort attempts into lanes: each one into the first lane of its host that is free at its start."""
    hosts: dict[str, list[list[AttemptRecord]]] = {}
    for attempt in sorted(attempts, key=lambda one: one.start_ms):
        lanes = hosts.setdefault(attempt.host, [])
        for lane in lanes:
            if lane[-1].end_ms <= attempt.start_ms:
                lane.append(attempt)
                break
        else:
            lanes.append([attempt])
    return [Lane(host, lane) for host, lanes in hosts.items() for lane in lanes]


def _remarks(attempts: Sequence[AttemptRecord], lanes: Sequence[Lane]) -> Iterator[Remark]:
    pieces = busy_times(attempts)
    whole = sum(end - start for start, end in pieces)
    worked = sum(one.end_ms - one.start_ms for one in attempts)
    if whole:
        hosts = len({lane.host for lane in lanes})
        yield note(
            f"{many(len(attempts), 'attempt')} on {many(hosts, 'host')} in {many(len(lanes), 'lane')}; "
            f"the lanes were busy for {percent(worked / (whole * len(lanes)), 0)} of the time."
        )
    wrong = [one for one in attempts if one.outcome in PROBLEMS]
    if not wrong:
        yield good("No attempt failed.")
        return
    for outcome in sorted({one.outcome for one in wrong}):
        these = [one for one in wrong if one.outcome == outcome]
        seconds = sum(one.end_ms - one.start_ms for one in these) / 1e3
        names = listed(list(dict.fromkeys(one.task for one in these)))
        one, several = _IN_WORDS[outcome]
        what = one if len(these) == 1 else several
        yield note(f"{many(len(these), 'attempt')} {what}, after {format_seconds(seconds)} in all: {names}.")


def busy_times(attempts: Sequence[AttemptRecord]) -> list[tuple[int, int]]:
    """The times in milliseconds at which at least one task ran, as a list of starts and ends."""
    pieces: list[tuple[int, int]] = []
    for one in sorted(attempts, key=lambda attempt: attempt.start_ms):
        if pieces and one.start_ms <= pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(pieces[-1][1], one.end_ms))
        else:
            pieces.append((one.start_ms, one.end_ms))
    return pieces


class _Clock:
    """Maps times to positions; long pauses are shortened."""

    def __init__(self, attempts: Sequence[AttemptRecord]) -> None:
        pieces = busy_times(attempts)
        self.busy_seconds = sum(end - start for start, end in pieces) / 1e3
        longest = max(1000 * PAUSE * self.busy_seconds, 1.0)
        self.starts = [pieces[0][0]]
        """The times at which the job began to run tasks: its start, and after each shortened pause."""
        self._places: list[tuple[int, int, float]] = []
        at = 0.0
        for (start, end), (_, before) in zip(pieces, [pieces[0], *pieces], strict=False):
            pause = max(start - before, 0)
            at += min(pause, longest)
            if pause > longest:
                self.starts.append(start)
            self._places.append((start, end, at))
            at += end - start
        self._scale = (WIDTH - LEFT - 20) / max(at, 1.0)

    def __call__(self, time_ms: int) -> float:
        start, end, at = max(one for one in self._places if one[0] <= time_ms)
        return LEFT + (at + min(time_ms, end) - start) * self._scale

    def ticks(self) -> Iterator[tuple[int, int]]:
        """About eight times, each with its seconds since the newest of `starts`."""
        step = next((each for each in STEPS if self.busy_seconds / each <= 8), STEPS[-1])
        for number, start in enumerate(self.starts):
            until = self.starts[number + 1] if number + 1 < len(self.starts) else math.inf
            last = max(end for begin, end, _ in self._places if begin < until)
            for seconds in range(0, (last - start) // 1000 + 1, step):
                moment = start + 1000 * seconds
                if any(begin <= moment <= end for begin, end, _ in self._places):
                    yield moment, seconds


def _chart(lanes: Sequence[Lane]) -> Chart:
    attempts = [one for lane in lanes for one in lane.attempts]
    clock = _Clock(attempts)
    height = ROW * len(lanes) + 44
    parts = [rule(LEFT, 10, LEFT, height - 34, "axis")]
    for moment, seconds in clock.ticks():
        place = clock(moment)
        parts.append(rule(place, height - 34, place, height - 30, "axis"))
        parts.append(text(place, height - 18, format_seconds(seconds) if seconds else "0", "tick", "middle"))
    for start in clock.starts[1:]:
        place, pause = clock(start) - 8, (start - clock.starts[0]) / 1e3
        parts.append(rule(place, 10, place, height - 34, "axis dash"))
        parts.append(text(place, height - 4, f"{format_seconds(pause)} after the start", "tick", "middle"))
    left = MOST_BARS
    host = ""
    for number, lane in enumerate(lanes):
        y = 12 + ROW * number
        if lane.host != host:
            host = lane.host
            parts.append(text(LEFT - 8, y + 10, clip(host, 20), "label", "end", host))
        for one in lane.attempts[: max(left, 0)]:
            x, end = clock(one.start_ms), clock(one.end_ms)
            parts.append(rectangle(x, y, max(end - x - 0.6, 0.8), ROW - 5, f"bar {_style(one)}", _said(one)))
        left -= len(lane.attempts)
    legend = [("bar c1", "gave a result"), ("bar c2", "failed or lost"), ("bar plain", "stopped")]
    known = {_style(one) for one in attempts}
    shown = tuple(one for one in legend if one[0].removeprefix("bar ") in known)
    wrong = [_said(one) for one in attempts if one.outcome in PROBLEMS][:8]
    label = f"{many(len(attempts), 'attempt')} in {many(len(lanes), 'lane')}" + (
        f"; {'; '.join(wrong)}" if wrong else ""
    )
    caption = "Point at a bar for its task, worker and times. Time runs from the start of the first task."
    return Chart(drawing(WIDTH, height, label, *parts, style="timeline"), shown, caption)


def _style(attempt: AttemptRecord) -> str:
    return "c2" if attempt.outcome in PROBLEMS else "c1" if attempt.outcome in RESULTS else "plain"


def _said(attempt: AttemptRecord) -> str:
    seconds = (attempt.end_ms - attempt.start_ms) / 1e3
    again = f", attempt {attempt.attempt}" if attempt.attempt > 1 else ""
    restored = ", continued from a checkpoint" if attempt.restored else ""
    return f"{attempt.task}{again}: {attempt.outcome} after {format_seconds(seconds)} on {attempt.worker}{restored}"
