"""The stand-in's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving import stand_in


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.write(tmp_path_factory.mktemp("model"))
