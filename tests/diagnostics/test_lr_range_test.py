"""The range test of a job's member uses the member's seed, optimizer and rows, and leaves no files behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.jobs import runner_with

from quorate.diagnostics.first_fold import open_subject
from quorate.diagnostics.lr_range_test import RangeTestResult, check_networks, find_rate, own_rate, sentences
from quorate.errors import UserError
from quorate.spec import Job, load_job
from quorate.training.range_test import RangeTest, RateRange, log_spaced

MEMBERS: dict[str, Any] = {"mlp": {"kind": "net", "arch": "mlp", "lr": 0.05, "early_stopping": {}}, "svm": "svm"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    data = {"kind": "digits", "limit": 300}
    path.write_text(yaml.safe_dump({"data": data, "validation": {"folds": 2}, "members": MEMBERS}))
    return load_job(path)


def test_a_network_of_a_job_has_a_rate_that_suits_and_one_that_is_too_high(job: Job, tmp_path: Path) -> None:
    one, other = runner_with(tmp_path / "one"), runner_with(tmp_path / "other")
    subject = open_subject(job, "mlp", one.place)

    found = find_rate(subject, one, low=1e-6, high=100, steps=80)
    again = find_rate(subject, other, low=1e-6, high=100, steps=80)

    assert found.reading.learns
    assert found.reading.suggested is not None and 1e-3 < found.reading.suggested < 0.5
    assert found.reading.too_high is not None and found.reading.too_high < 20
    np.testing.assert_array_equal(found.test.losses, again.test.losses, "its seed decides")
    assert found.batch_size == 64
    tree = found.to_json()
    assert tree["suggested"] == found.reading.suggested
    assert len(tree["rates"]) == len(tree["losses"]) == len(found.test.rates)


def test_rates_that_are_all_too_high_are_reported(job: Job, tmp_path: Path) -> None:
    runner = runner_with(tmp_path)

    found = find_rate(open_subject(job, "mlp", runner.place), runner, low=1e5, high=1e8, steps=20)

    assert not found.reading.learns
    assert "try a lower --from" in sentences(found)[0]


def test_a_member_without_a_rate_is_refused(job: Job) -> None:
    with pytest.raises(
        UserError, match=r"svm is of kind svm, but the range test requires a network .* choose one of mlp"
    ):
        check_networks(job, "svm")


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0.5, "is too high: set lr to 0.02"),
        (1e-5, "is too low: set lr to 0.02"),
        (0.03, "is as good as the suggestion"),
        (0.1, "is 5.0 times the suggestion"),
        (0.002, "is 10.0 times lower than the suggestion"),
    ],
)
def test_the_rate_of_the_job_is_compared(rate: float, words: str) -> None:
    reading = RateRange(True, 0.02, 0.01, 0.2, 1e-4, 0.4, 1.0)
    test = RangeTest(log_spaced(1e-6, 1, 3), np.ones(3), np.ones(3), True)

    assert words in own_rate(rate, reading)
    said = sentences(RangeTestResult("cnn", rate, 64, test, reading))
    assert said[0] == "suggested: 0.02, a tenth of 0.2, where the loss is lowest"
    assert said[1] == "too low below 0.0001: the loss does not change within the test"
    assert said[2] == "too high from 0.4: the loss rises, and diverges at 1, which ends the test"
