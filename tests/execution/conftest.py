"""Each executor in turn; of the cases of sessions on Ray, continuous integration runs a sample."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quorate.execution.base import Executor
from quorate.execution.local import LocalExecutor

SAMPLE = {
    "test_work_submitted_while_events_are_read_is_done_in_the_same_session",
    "test_a_cancelled_task_ends_without_a_result_and_the_others_go_on",
    "test_the_tasks_of_a_unit_run_one_after_another_on_the_same_worker",
    "test_tasks_that_start_after_data_were_added_read_them",
}
"""The cases of test_sessions.py that run on Ray without the mark `slow`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, parameters = item.name.partition("[")
        if item.path.name == "test_sessions.py" and parameters == "ray]" and name not in SAMPLE:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.system)])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "local":
        made: Executor = LocalExecutor()
    else:
        request.getfixturevalue("ray_session")
        from quorate.execution.ray.executor import RayExecutor

        made = RayExecutor(own=False)
    yield made
    made.close()
