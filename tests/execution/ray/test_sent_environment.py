"""Variables that were sent with a job, as its processes set them; `tests/job/test_submission.py` sends some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quorate.execution.ray import sent_environment


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_environment, "_is_here", False)


def test_a_process_sets_what_lies_in_its_folder_and_lets_workers_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENT", "before")
    (tmp_path / sent_environment.NAME).write_bytes(sent_environment.packed({"SENT": "ä b"}))

    sent_environment.load()

    assert os.environ["SENT"] == "ä b"
    assert sent_environment.settings_for_workers() == {
        "worker_process_setup_hook": "quorate.execution.ray.sent_environment.load"
    }


def test_without_variables_workers_have_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    sent_environment.load()

    assert sent_environment.settings_for_workers() == {}
