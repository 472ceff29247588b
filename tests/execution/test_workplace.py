"""What a workplace has for the tasks of a job, before anything is started."""

from __future__ import annotations

from typing import Literal

import pytest

from quorate.execution.hardware import this_hardware
from quorate.execution.local import LocalExecutor
from quorate.execution.workplace import Workplace
from quorate.plan.tasks import Resources


@pytest.mark.parametrize("name", ["local", "ray"])
def test_without_a_cluster_the_memory_of_this_machine_limits_what_a_task_can_ask_for(
    name: Literal["local", "ray"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    place, room = Workplace(name, None, lambda executor: None), this_hardware().room

    assert place.groups_for(Resources(1, 0, room)) and place.slots(Resources(1, 0, room)) == 1
    assert not place.groups_for(Resources(1, 0, room + 1)) and not place.slots(Resources(1, 0, room + 1))
    assert place.slots(Resources(0.5, 0, room // 4)) == min(4, 2 * this_hardware().cores)
    assert not LocalExecutor().groups_for(Resources(1, 0, 1 << 50))


def test_this_process_is_one_worker_and_a_local_ray_has_one_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cores = this_hardware().cores
    local, ray = Workplace("local", None, lambda executor: None), Workplace("ray", None, lambda executor: None)

    for place in (local, LocalExecutor()):
        assert not place.groups_for(Resources(workers=(2, 4))) and not place.slots(Resources(workers=(2, 4)))
        assert place.groups_for(Resources(workers=(1, 4))) and place.slots(Resources(workers=(1, 4)))
    assert ray.slots(Resources(workers=(cores, cores))) == 1 and ray.groups_for(Resources(workers=(cores, cores)))
    assert not ray.slots(Resources(workers=(cores + 1, 99))) and not ray.groups_for(Resources(workers=(cores + 1, 99)))
