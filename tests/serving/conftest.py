"""The bundle that the tests serve."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving import quarters


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quarters.write(tmp_path_factory.mktemp("model") / "bundle")
