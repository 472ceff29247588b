"""The axis of a searched parameter: numbers, also on a logarithmic scale, or choices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quorate.report.page.svg import Scale
from quorate.report.search import value_text
from quorate.runs.search_record import SearchRecord, TrialRecord


@dataclass(frozen=True)
class ParameterAxis:
    """The values of one path on an axis; parameters of several kinds can share a path."""

    path: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    """Empty for numbers. The choices are at 0, 1, and so on."""

    def position(self, trial: TrialRecord) -> float | None:
        """Where the value of a trial is; None if the trial has none, or the axis does not contain it."""
        if self.path not in trial.values:
            return None
        value = trial.values[self.path]
        if self.choices:
            return float(self.choices.index(value_text(value)))
        return float(value) if _is_number(value) and not (self.log and value <= 0) else None

    def scale(self, start: float, end: float) -> Scale:
        return Scale(self.low, self.high, start, end, self.log)

    def ticks(self, scale: Scale, count: int) -> list[tuple[float, str]]:
        """The marks of the axis, as pairs of place and text."""
        if self.choices:
            return [(float(place), text) for place, text in enumerate(self.choices)]
        found = scale.ticks(count)
        if self.whole:
            found = sorted({float(round(tick)) for tick in found if self.low <= round(tick) <= self.high})
        return [(tick, value_text(tick)) for tick in found]

    def missing(self, trials: Iterable[TrialRecord]) -> str:
        """The text for the trials without a position: their value if it is the same for all; empty if there are
        none."""
        texts = {
            value_text(trial.values[self.path]) if self.path in trial.values else "no value"
            for trial in trials
            if self.position(trial) is None
        }
        return "" if not texts else texts.pop() if len(texts) == 1 else "other"


def axes_of(record: SearchRecord, trials: Sequence[TrialRecord]) -> list[ParameterAxis]:
    """An axis for each parameter of a search, which contains the space and the values of these trials."""
    return [_axis(record, path, trials) for path in record.paths]


def _axis(record: SearchRecord, path: str, trials: Sequence[TrialRecord]) -> ParameterAxis:
    own = [one for one in record.parameters if one.path == path]
    values = [trial.values[path] for trial in trials if path in trial.values]
    if any(one.low is None for one in own):
        known = [*(value for one in own for value in one.values), *values]
        known += [end for one in own if one.low is not None for end in (one.low, one.high)]
        if all(map(_is_number, known)):
            known.sort()
        choices = tuple(dict.fromkeys(map(value_text, known)))
        return ParameterAxis(path, -0.5, len(choices) - 0.5, choices=choices)
    log = all(one.log for one in own)
    ends = [end for one in own for end in (one.low, one.high) if end is not None]
    ends += [value for value in values if _is_number(value) and not (log and value <= 0)]
    return ParameterAxis(path, min(ends), max(ends), log, all(one.whole for one in own))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
