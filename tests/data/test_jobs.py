"""Whole jobs on tables, groups and times, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss
from tests.jobs import Here

from quorate.spec.file import SpecError

ROWS = 240


@pytest.fixture
def people(tmp_path) -> pd.DataFrame:
    """Rows of two classes that depend on numbers and categories, in groups of six and in the order of days."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, ROWS)
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(ROWS) < 0.1, np.nan, label * 8 + rng.normal(40, 6, ROWS)),
            "work": np.where(rng.random(ROWS) < 0.8, np.array(["farm", "office"])[label], "sea"),
            "family": np.arange(ROWS) // 6,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.permutation(ROWS) // 2, "D"),
            "income": np.array(["low", "high"])[label],
        }
    )
    frame.to_csv(tmp_path / "people.csv", index=False)
    return frame


def job(folder: Path, **data: Any) -> dict[str, Any]:
    return {
        "name": "people",
        "data": {"kind": "csv", "train": str(folder / "people.csv"), "label": "income", **data},
        "validation": {"scheme": "kfold", "folds": 3},
        "members": {
            "logistic": {"kind": "logistic"},
            "forest": {"kind": "random_forest", "trees": 20, "min_samples_leaf": 5},
        },
        "execution": {"executor": "local"},
        "tracking": {"enabled": False},
    }


def test_rows_that_are_too_early_to_be_validated_do_not_affect_the_combination(people, tmp_path):
    here = Here(tmp_path)

    board = here.run(job(tmp_path, time="day", columns={"family": "ignore"}, test={"fraction": 0.25}))

    assert "3 folds in time order, each trained on all earlier rows" in here.said
    with np.load(here.newest_run() / "oof.npz") as saved:
        proba, mask, y, ensemble = saved["proba"], saved["mask"], saved["y"], saved["ensemble"]
    days = people["day"].sort_values()
    border = days.iloc[180]  # the latest quarter is the test
    train = people[people["day"] < border]
    never = train["day"].to_numpy() < train["day"].sort_values().iloc[45]
    assert 0 < never.sum() < len(train)
    assert mask.shape[1] == len(train)
    np.testing.assert_array_equal(mask.all(axis=0), ~never)
    np.testing.assert_array_equal(mask.any(axis=0), ~never)
    np.testing.assert_array_equal(np.isnan(ensemble).any(axis=1), never)
    for figures, predicted in zip([*board["members"], board["ensemble"]], [*proba, ensemble], strict=True):
        assert figures["oof"]["nll"] == pytest.approx(log_loss(y[~never], predicted[~never]), abs=1e-5)
    assert len(board["members"]) == 2 and board["ensemble"]["test"]["accuracy"] > 0.7


def test_groups_and_a_table_make_a_job_from_file_to_leaderboard(people, tmp_path):
    here = Here(tmp_path)

    board = here.run(job(tmp_path, groups="family", columns={"day": "ignore"}, test={"fraction": 0.25}))

    assert "stratified 3-fold cross-validation in whole groups" in here.said
    assert board["ensemble"]["test"]["accuracy"] > 0.7


@pytest.mark.parametrize(
    ("data", "validation", "place", "message"),
    [
        ({"time": "day"}, {"repeats": 2}, "validation.repeats", "rows in time order can be split in only one way"),
        (
            {"groups": "family", "columns": {"day": "ignore"}},
            {"folds": 90},
            "validation.folds",
            "90 folds, but the rows have only 40 groups",
        ),
        ({}, {}, "data.columns", "the column 'day' holds dates"),
        ({"columns": {"dday": "ignore"}}, {}, "data.columns", "did you mean 'day'?"),
        ({"label": "incom"}, {}, "data.label", "did you mean 'income'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_the_data_do_not_allow_are_errors_with_the_place_in_the_job_file(
    data, validation, place, message, people, tmp_path
):
    wrong = job(tmp_path, **data)
    wrong["validation"] |= validation

    with pytest.raises(SpecError) as caught:
        Here(tmp_path).run(wrong)

    assert place in str(caught.value) and message in str(caught.value)


def test_unlabelled_images_are_noted_by_a_job(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = (rng.integers(0, 60, (40, 8, 8)) + 150 * y[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=y)
    np.savez(tmp_path / "more.npz", images=images[:7])
    here = Here(tmp_path)

    here.run(
        {
            **job(tmp_path),
            "data": {"kind": "npz", "train": str(tmp_path / "train.npz"), "unlabelled": str(tmp_path / "more.npz")},
            "members": {"logistic": {"kind": "logistic"}},
        }
    )

    assert "7 unlabelled images, for members with the key pretrain" in here.said
