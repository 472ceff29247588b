"""The processes that watch the nodes of a session: where they run, and when they end."""

from __future__ import annotations

import time

import pytest
import ray
from ray.exceptions import RayActorError

from quorate.execution.ray import health_checks
from quorate.execution.ray.health_checks import HealthChecks


@pytest.mark.system
def test_a_node_without_workers_is_not_watched_unless_it_is_silent(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a watched node, which takes the part of a node without the driver
    node = ray.get_runtime_context().get_node_id()
    monkeypatch.setattr(health_checks, "_EVERY_SECONDS", 0.0)
    checks = HealthChecks()
    checks._here = "another node"
    checks.look({node})
    watcher = checks._watched[node].handle
    ray.get(watcher.answer.remote(), timeout=60)

    # when: it counts as silent, and has no worker any more
    monkeypatch.setattr(health_checks, "SILENT_SECONDS", -60.0)
    checks.look({node})
    checks.look(())
    assert checks.silent == {node}
    ray.get(watcher.answer.remote(), timeout=60)

    # when: it answers
    monkeypatch.setattr(health_checks, "SILENT_SECONDS", 20.0)
    checks.look(())

    # then: the process, which would keep an autoscaler from taking the node away, ends
    with pytest.raises(RayActorError):
        for _ in range(100):
            ray.get(watcher.answer.remote(), timeout=60)
            time.sleep(0.1)
    checks.look({node})
    assert checks._watched[node].handle != watcher, "a worker is there again"
    checks.close()
