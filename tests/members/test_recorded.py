"""Recorded results detect changes under the same key, which would be mixed with earlier results in users' stores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.members import recorded
from tests.members.configurations import CONFIGURATIONS, configurations

WHAT_TO_DO = (
    "The store would take old results of this kind for new ones. If the change is meant, raise the kind's `version` "
    "and record again: python -m tests.members.recorded"
)

RECORDED = json.loads(recorded.RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def now():
    return recorded.now()


@pytest.mark.parametrize("name", configurations())
def test_a_kind_gives_the_results_recorded_for_its_version(name, now):
    before = RECORDED[name]

    assert before["version"] == now[name]["version"], "record again: python -m tests.members.recorded"
    # CPU types differ in their last bits, not in the third decimal
    np.testing.assert_allclose(now[name]["proba"], before["proba"], atol=0.01, err_msg=WHAT_TO_DO)


@pytest.mark.parametrize("name", configurations())
def test_a_fit_task_keeps_its_key(name, now):
    """A changed key would train everything in users' stores again."""
    assert now[name]["key"] == RECORDED[name]["key"], (
        "The identity of fit tasks has changed: finished work will not be found. If that is meant, record again: "
        "python -m tests.members.recorded"
    )


def test_exactly_the_tested_kinds_are_recorded():
    assert RECORDED.keys() == CONFIGURATIONS.keys()
