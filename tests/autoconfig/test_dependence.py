"""Signs that rows depend on each other: what is found in tables that have them, and nothing in those that do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quorate.autoconfig.columns import inspect_table
from quorate.autoconfig.dependence import ALIKE, neighbour_distance
from quorate.autoconfig.fingerprint import SplitHint, TableFacts
from quorate.autoconfig.source import DataLocation

Hints = Callable[[pd.DataFrame, np.ndarray], tuple[SplitHint, ...]]


@pytest.fixture
def hints(tmp_path: Path) -> Hints:
    def found(frame: pd.DataFrame, y: np.ndarray) -> tuple[SplitHint, ...]:
        frame.assign(label=np.where(y == 0, "no", "yes")).to_csv(tmp_path / "data.csv", index=False)
        facts = inspect_table(DataLocation("csv", tmp_path / "data.csv"), "label").facts
        assert isinstance(facts, TableFacts)
        return facts.hints

    return found


def shuffled(rows: int = 400, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, rows)
    return pd.DataFrame({"a": y + random.normal(size=rows), "b": random.normal(size=rows)}), y


def test_rows_in_random_order_give_no_hint(hints: Hints) -> None:
    frame, y = shuffled()

    assert hints(frame, y) == ()
    assert neighbour_distance(frame, y) == pytest.approx(1, abs=0.15)


def test_rows_sorted_by_their_class_give_no_hint(hints: Hints) -> None:
    frame, y = shuffled()
    order = np.argsort(y)

    assert hints(frame.iloc[order].reset_index(drop=True), y[order]) == ()


@pytest.mark.parametrize("name", ["patient_id", "User", "visit.session", "house_no"])
def test_a_column_named_like_a_source_with_several_rows_per_value_is_a_group(hints: Hints, name: str) -> None:
    frame, y = shuffled()
    frame[name] = np.random.default_rng(1).permutation(np.arange(400) // 4)

    (hint,) = hints(frame, y)

    assert (hint.key, hint.column) == ("groups", name)
    assert f"the column {name} has 100 values for 400 rows" in hint.note and f"`data.groups: {name}`" in hint.note


@pytest.mark.parametrize("values", [np.arange(400), np.arange(400) % 3], ids=["one row each", "three values"])
def test_row_numbers_and_codes_of_few_values_are_no_groups(hints: Hints, values: np.ndarray) -> None:
    frame, y = shuffled()
    frame["patient_id"] = np.random.default_rng(1).permutation(values)

    assert hints(frame, y) == ()


def test_rows_sorted_by_dates_are_in_time(hints: Hints) -> None:
    frame, y = shuffled()
    frame["day"] = pd.date_range("2024-01-01", periods=400, freq="h").astype(str)

    (hint,) = hints(frame, y)

    assert (hint.key, hint.column) == ("time", "day") and "`data.time: day`" in hint.note


def test_dates_in_random_order_give_no_hint(hints: Hints) -> None:
    frame, y = shuffled()
    days = pd.date_range("2024-01-01", periods=400, freq="h").astype(str)
    frame["day"] = np.random.default_rng(1).permutation(days)

    assert hints(frame, y) == ()


def test_neighbours_that_are_nearly_equal_are_found_without_a_column_that_names_them(hints: Hints) -> None:
    # given: eighty sources with five rows each, which differ by a tenth of what sources differ
    random = np.random.default_rng(0)
    centres, y = random.normal(size=(80, 3)), np.repeat(random.integers(0, 2, 80), 5)
    frame = pd.DataFrame(np.repeat(centres, 5, axis=0) + 0.1 * random.normal(size=(400, 3)), columns=list("abc"))

    (hint,) = hints(frame, y)

    ratio = neighbour_distance(frame, y)
    assert ratio is not None and ratio < ALIKE and hint.key is None
    assert "rows next to each other are alike" in hint.note and "name it in `data.groups` or `data.time`" in hint.note


def test_rows_that_occur_twice_are_copies_unless_their_columns_have_few_values(hints: Hints) -> None:
    frame, y = shuffled()
    twice = np.random.default_rng(1).permutation(np.arange(400) % 300)

    (hint,) = hints(frame.iloc[twice].reset_index(drop=True), y[twice])

    assert (
        hint.key is None and "100 of 400 rows repeat an earlier row" in hint.note and "remove the copies" in hint.note
    )
    assert hints(frame.round(0), y) == ()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_infinite_and_huge_numbers_are_not_compared(hints: Hints, value: float) -> None:
    frame, y = shuffled()
    frame["huge"] = frame["a"] * value

    assert hints(frame, y) == ()


def test_text_alone_and_few_rows_cannot_be_compared() -> None:
    texts = pd.DataFrame({"a": ["x", "y"] * 200})

    assert neighbour_distance(texts, np.zeros(400, np.int64)) is None
    assert neighbour_distance(shuffled(20)[0], shuffled(20)[1]) is None
