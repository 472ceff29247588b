"""Columns of noise: which are left out of a job, and which are not tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quorate.autoconfig import noise_columns
from quorate.autoconfig.columns import inspect_table
from quorate.autoconfig.fingerprint import TableFacts
from quorate.autoconfig.source import DataLocation

ROWS = 1_000


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_columns, "FEWEST_ROWS", ROWS)


def table(*, classes: int = 2, noise: int = 1) -> pd.DataFrame:
    """A useful column of distinct numbers, another one of categories, and columns of noise."""
    random = np.random.default_rng(0)
    y = random.integers(0, classes, ROWS)
    frame = pd.DataFrame({"useful": y + random.normal(size=ROWS), "group": np.where(random.random(ROWS) < 0.7, y, 0)})
    frame["group"] = "g" + frame["group"].astype(str)
    for number in range(noise):
        frame[f"noise{number}"] = random.normal(size=ROWS)
    return frame.assign(label=[f"class {k}" for k in y])


def ignored(frame: pd.DataFrame, folder: Path) -> dict[str, str]:
    """The reasons to ignore columns, by their names."""
    frame.to_csv(folder / "data.csv", index=False)
    facts = inspect_table(DataLocation("csv", folder / "data.csv"), "label").facts
    assert isinstance(facts, TableFacts)
    return {column.name: column.ignore for column in facts.columns if column.ignore}


@pytest.mark.parametrize("classes", [2, 3])
def test_a_column_of_noise_is_left_out_and_a_useful_one_is_not(classes: int, tmp_path: Path) -> None:
    found = ignored(table(classes=classes), tmp_path)

    assert list(found) == ["noise0"]
    assert found["noise0"].startswith("without it, the log-loss of boosted trees on held-out rows is lower by 0.0")


def test_a_column_with_few_distinct_values_is_not_tried(tmp_path: Path) -> None:
    frame = table()
    frame["noise0"] = frame["noise0"].round(1)

    assert ignored(frame, tmp_path) == {}


def test_no_column_of_a_table_of_measurements_is_tried(tmp_path: Path) -> None:
    assert ignored(table(noise=noise_columns.MOST_COLUMNS), tmp_path) == {}


def test_no_column_of_a_small_table_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_columns, "FEWEST_ROWS", ROWS + 1)

    assert ignored(table(), tmp_path) == {}
