"""The input of the page of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from quorate.report.curve_findings import LOG_SCALE, Curves
from quorate.report.page.run import Reproduction
from quorate.report.page.svg import log_span, span
from quorate.report.search import metric_of
from quorate.runs.search_record import SearchRecord, TrialRecord

MOST_DRAWN = 500
"""Largest number of trials in a chart, so that the page stays small (an assumption)."""


@dataclass(frozen=True, eq=False)
class SearchData:
    """A search, as `quorate.report.search_report` reads it from the folder of its run."""

    record: SearchRecord
    recipe: Reproduction
    curves: Mapping[str, Curves] = field(default_factory=dict)
    """Learning curves by the names of the trials."""

    def figure(self, trial: TrialRecord) -> float:
        """The loss of a trial as its metric."""
        assert trial.loss is not None, "one of `scored`"
        return metric_of(self.record.metric, trial.loss)

    def is_best(self, trial: TrialRecord) -> bool:
        return self.record.best is not None and trial.name == self.record.best.name

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """The complete trials, the best first."""
        found = [one for one in self.record.trials if one.state == "complete" and one.loss is not None]
        return sorted(found, key=lambda one: (one.loss, one.number))

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The ranks of the complete trials by their names; 0 is the best."""
        return {one.name: rank for rank, one in enumerate(self.complete)}

    @cached_property
    def scored(self) -> list[TrialRecord]:
        """The trials with a loss, the best last, so that it is drawn on top; stopped ones first.

        If there are many, the worst are missing.
        """
        others = [one for one in self.record.trials if one.state != "complete" and one.loss is not None]
        others.sort(key=lambda one: (-one.folds, one.loss, one.number))
        return [*self.complete, *others][:MOST_DRAWN][::-1]

    @cached_property
    def notes(self) -> Sequence[str]:
        """What charts leave out."""
        known = sum(one.loss is not None for one in self.record.trials)
        if known == len(self.scored):
            return ()
        return (f"Only the best {len(self.scored):,} of {known:,} trials with a loss are drawn.",)

    @cached_property
    def figures(self) -> tuple[tuple[float, float], bool]:
        """Bounds of an axis of the metric, and whether its scale is logarithmic."""
        values = [self.figure(one) for one in self.scored]
        if values and min(values) > 0 and max(values) > LOG_SCALE * min(values) and self.lower_is_better:
            return log_span(values), True
        return span(values), False

    @property
    def lower_is_better(self) -> bool:
        return metric_of(self.record.metric, 0.0) == 0.0

    def style(self, trial: TrialRecord) -> str:
        """The CSS class of the marks of a trial."""
        return "c2" if self.is_best(trial) else "c1" if trial.state == "complete" else "plain"
