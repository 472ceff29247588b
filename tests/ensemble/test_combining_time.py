"""The time that combining takes is foretold from little rows and members."""

from __future__ import annotations

import pytest

from quorate.ensemble import combining_time as rehearsal
from quorate.registry import COMBINERS


def test_the_line_through_two_sizes_is_followed_and_scaled_by_members_and_classes(monkeypatch):
    # given: combining takes a second and a hundredth of one for each row
    tried = []

    def took(combiner, members, rows, n_classes):
        tried.append((members, rows, n_classes))
        return 1 + rows / 100

    monkeypatch.setattr(rehearsal, "_time", took)
    combiner = COMBINERS.get("mean")

    # when
    few = rehearsal.combining_seconds(combiner=combiner, members=4, rows=10_000, n_classes=10)
    many = rehearsal.combining_seconds(combiner=combiner, members=16, rows=10_000, n_classes=100)

    # then
    assert few == pytest.approx(1 + 100)
    assert many == pytest.approx(2 * 2 * (1 + 100)), "eight members and fifty classes were tried"
    assert max(rows for _, rows, _ in tried) <= 800


@pytest.mark.parametrize("kind", ["calibrated_greedy", "weighted", "mean", "best_single"])
def test_every_combiner_can_be_rehearsed(kind):
    combiner = COMBINERS.get(kind)

    assert rehearsal.combining_seconds(
        combiner=combiner(combiner.Params()), members=3, rows=1000, n_classes=60
    ) == pytest.approx(1, abs=60)
