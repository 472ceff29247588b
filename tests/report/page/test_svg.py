"""Charts as text: scales, ticks, labels that keep out of each other's way."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.report.page.svg import Axes, Scale, clip, drawing, log_span, names, span, text


def test_a_scale_maps_its_limits_to_the_ends_of_the_axis() -> None:
    scale = Scale(2, 4, 100, 0)

    assert (scale(2), scale(3), scale(4)) == (100, 50, 0)
    assert Scale(1, 100, 0, 10, log=True)(10) == pytest.approx(5)


@given(low=st.floats(-1e6, 1e6), wide=st.floats(1e-6, 1e6), count=st.integers(2, 9))
def test_ticks_are_evenly_spaced_round_numbers_within_the_limits(low: float, wide: float, count: int) -> None:
    if low + wide == low:
        return
    ticks = Scale(low, low + wide, 0, 1).ticks(count)

    assert len(ticks) <= count + 1
    assert all(low - 1e-6 * wide - 1e-9 <= tick <= low + wide * (1 + 1e-6) + 1e-9 for tick in ticks)


@given(low=st.floats(1e-6, 1e4), ratio=st.floats(1.3, 1e6))
def test_logarithmic_ticks_are_within_the_limits(low: float, ratio: float) -> None:
    ticks = Scale(low, low * ratio, 0, 1, log=True).ticks()

    assert ticks
    assert all(low * 0.99 <= tick <= low * ratio * 1.01 for tick in ticks)


def test_spans_have_a_margin_and_ignore_values_that_are_not_finite() -> None:
    assert span([1, 3, math.nan]) == pytest.approx((0.88, 3.12))
    assert span([2, 2])[0] < 2 < span([2, 2])[1]
    assert span([]) == pytest.approx((-0.06, 1.06))
    low, high = log_span([1, 10, 0, -1])
    assert 0 < low < 1 and high > 10


def test_a_line_breaks_where_a_value_is_missing() -> None:
    axes = Axes.of((0, 4), (0, 1))

    assert axes.line([(0, 0), (1, 1), (2, math.nan), (3, 0), (4, 1)], "c1").count("<polyline") == 2


def test_drawings_are_well_formed_with_any_text() -> None:
    axes = Axes.of((0, 1), (0, 1), x_label="<x>", y_label="a & b")
    nasty = '"><script>'

    whole = drawing(10, 10, nasty, axes.frame(), text(1, 1, nasty, "label", title=nasty), axes.dot(0, 0, "c1", nasty))

    root = ET.fromstring(whole)
    assert root.attrib["aria-label"] == nasty
    assert nasty in [element.text for element in root.iter()]


def test_labels_do_not_cover_each_other() -> None:
    axes = Axes.of((0, 1), (0, 1))
    same = [(0.5, 0.5, f"member {number}") for number in range(9)]

    assert 1 <= len(list(names(axes, same))) <= 4


def test_long_words_are_clipped() -> None:
    assert clip("short", 10) == "short"
    assert clip("rather long words", 10) == "rathe…ords"
    assert clip("model_a", 7) == "model_a"
    names = [f"{'network' * 9}_{seed}" for seed in "ab"]
    assert clip(names[0], 24) != clip(names[1], 24)
