"""The part of a search's budget that is kept for its end."""

from __future__ import annotations

from tests.tiny import plan_of

from quorate.execution.budget import Budget
from quorate.search.closing import ClosingReserve, closing_seconds
from quorate.search.trial import Trial
from quorate.spec.search import SearchSpec


def test_the_reserve_grows_with_trials_rows_and_classes() -> None:
    few = closing_seconds(trials=10, rows=1_000, classes=10, ensemble=True)
    assert 3 < few < 4

    assert closing_seconds(trials=1_000, rows=10_000, classes=10, ensemble=True) > 60
    assert closing_seconds(trials=1_000, rows=10_000, classes=10, ensemble=False) < 10


def test_a_budget_keeps_more_for_the_end_with_each_trial() -> None:
    budget, data = Budget(60.0, 0.0), plan_of("{bayes: {kind: naive_bayes}}").context
    reserve = ClosingReserve(budget, SearchSpec(ensemble=2), data)
    first = budget.reserve
    assert first > 0, "some time is kept before any trial has ended"

    reserve.ended(Trial(0, "bayes", None, "written", None))

    assert budget.reserve > first
