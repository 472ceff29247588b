"""The time of combining is estimated from few rows and members."""

from __future__ import annotations

import pytest

from quorate.ensemble import combining_time
from quorate.registry import COMBINERS


def test_the_time_is_extrapolated_from_two_sizes_and_scaled_by_members_and_classes(monkeypatch):
    # given: combining takes one second and 10 ms per row
    tried = []

    def took(combiner, members, rows, n_classes):
        tried.append((members, rows, n_classes))
        return 1 + rows / 100

    monkeypatch.setattr(combining_time, "_time", took)
    combiner = COMBINERS.get("mean")

    # when
    few = combining_time.combining_seconds(combiner=combiner, members=4, rows=10_000, n_classes=10)
    many = combining_time.combining_seconds(combiner=combiner, members=16, rows=10_000, n_classes=100)

    # then
    assert few == pytest.approx(1 + 100)
    assert many == pytest.approx(2 * 2 * (1 + 100)), "measured with eight members and fifty classes"
    assert max(rows for _, rows, _ in tried) <= 800


@pytest.mark.parametrize("kind", ["calibrated_greedy", "weighted", "mean", "best_single"])
def test_the_time_of_every_combiner_can_be_estimated(kind):
    combiner = COMBINERS.get(kind)

    assert combining_time.combining_seconds(
        combiner=combiner(combiner.Params()), members=3, rows=1000, n_classes=60
    ) == pytest.approx(1, abs=60)
