"""Each executor in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quorate.execution.base import Executor
from quorate.execution.local import LocalExecutor


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.system)])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "local":
        made: Executor = LocalExecutor()
    else:
        request.getfixturevalue("ray_session")
        from quorate.execution.ray import RayExecutor

        made = RayExecutor(own=False)
    yield made
    made.close()
