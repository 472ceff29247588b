"""The digits, opened once, and job files written from text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and NumPy are first imported

import pytest

from quorate.data.source import Opened


@pytest.fixture(scope="session")
def digits() -> Opened:
    from quorate.data.sources.digits import Digits, DigitsParams

    return Digits.open(DigitsParams())


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
