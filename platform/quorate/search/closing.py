"""The part of a search's budget that is kept for the choice among its trials and for its report."""

from __future__ import annotations

from dataclasses import dataclass

from quorate.execution.budget import Budget
from quorate.plan.tasks import JobData
from quorate.search.trial import Trial
from quorate.spec.search import SearchSpec

_FIXED = 3.0
"""Seconds for the record, the report of a few trials and the end of the workers (an assumption)."""
_BEST, _ENSEMBLE = 0.03, 0.6
"""Seconds per million probabilities (trials x rows x classes) to choose the best trial, or an ensemble and the best
trials to compare it with. Measured with `python -m tests.benchmarks.search_closing`: 0.02 to 0.06 s and 0.19 to 0.92 s
for 24 to 400 trials; the highest figures are those of small searches, which take less than 0.3 s."""
_REPORT = 0.001
"""Seconds that each trial adds to the time of the report, measured in the same way."""
_SAFETY = 1.5
"""The machine can be busier than that of the measurement (an assumption)."""


def closing_seconds(*, trials: int, rows: int, classes: int, ensemble: bool) -> float:
    """Seconds that a search needs after the last of its complete `trials`."""
    millions = trials * rows * classes / 1e6
    return _FIXED + _SAFETY * (_REPORT * trials + (_ENSEMBLE if ensemble else _BEST) * millions)


@dataclass
class ClosingReserve:
    """Keeps a part of a budget for the end of a search; it grows with each trial that ends."""

    budget: Budget | None
    spec: SearchSpec
    data: JobData
    _ended: int = 0

    def __post_init__(self) -> None:
        self._reserve()

    def ended(self, trial: Trial) -> None:
        """Note the end of a trial."""
        self._ended += 1
        self._reserve()

    def _reserve(self) -> None:
        """Reserve time for the trials that have ended and those that run."""
        if self.budget is not None:
            self.budget.reserve = closing_seconds(
                trials=self._ended + self.spec.parallel,
                rows=len(self.data.train),
                classes=self.data.train.n_classes,
                ensemble=self.spec.ensemble is not None,
            )
