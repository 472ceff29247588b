"""The section with the table of trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from quorate.report.page.section import Section
from quorate.report.search import value_text
from quorate.report.search_page.data import SearchData
from quorate.runs.search_record import TrialRecord

MOST_ROWS = 1000
"""Largest number of rows, so that the page stays small (an assumption)."""


@dataclass(frozen=True)
class TrialCell:
    """A cell of the table: its text, and the value by which the column is sorted."""

    text: str
    value: str | float
    number: bool = False


def section(data: SearchData) -> Section:
    record = data.record
    scored = [*data.complete, *(one for one in record.trials if one.state != "complete" and one.loss is not None)]
    trials = [*scored, *(one for one in record.trials if one.loss is None)]
    notes = [f"Only the first {MOST_ROWS:,} of {len(trials):,} trials are listed; search.json has all."]
    return Section(
        "trials",
        "Trials",
        "The complete trials, the best first, then the stopped ones and those without a result. Click a column "
        "heading to sort.",
        values={
            "heads": _heads(data, trials),
            "rows": [(one, data.is_best(one), list(_cells(data, one))) for one in trials[:MOST_ROWS]],
            "notes": notes if len(trials) > MOST_ROWS else [],
            "problems": _problems(trials),
            "first": "ascending" if data.lower_is_better else "descending",
        },
    )


def _heads(data: SearchData, trials: Sequence[TrialRecord]) -> list[tuple[str, bool]]:
    """The heading of each column, and whether it holds numbers."""
    paths = {path: any(_is_number(one.values.get(path)) for one in trials) for path in data.record.paths}
    figures = dict.fromkeys((data.record.metric, "number"), True) | {"state": False, "source": False}
    return list({"trial": False, **figures, **dict.fromkeys(("folds", "epochs", "seconds"), True), **paths}.items())


def _cells(data: SearchData, one: TrialRecord) -> Iterator[TrialCell]:
    """The cells after the name."""
    yield _number(data.figure(one) if one.loss is not None else None, 4)
    yield _number(one.number, 0)
    yield TrialCell(one.state, one.state)
    yield TrialCell(one.source, one.source)
    yield _number(one.folds, 0)
    yield _number(one.epochs or None, 0)
    yield _number(one.seconds, 1)
    for path in data.record.paths:
        value = one.values.get(path)
        if _is_number(value):
            yield TrialCell(value_text(value), value, number=True)
        else:
            text = value_text(value) if path in one.values else "–"
            yield TrialCell(text, text if path in one.values else "")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float | None, digits: int) -> TrialCell:
    return TrialCell("–", "", True) if value is None else TrialCell(f"{value:.{digits}f}", value, True)


def _problems(trials: Sequence[TrialRecord]) -> list[tuple[str, str]]:
    """The names of the trials without a result, and the reasons."""
    return [(one.name, one.problem) for one in trials if one.problem][:MOST_ROWS]
