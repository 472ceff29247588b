"""The processes that watch the nodes of a session: where they run, and when they end."""

from __future__ import annotations

import time

import pytest
import ray
from ray.exceptions import RayActorError

from quorate.execution import pulse
from quorate.execution.pulse import Pulses


@pytest.mark.system
def test_a_node_without_workers_is_not_watched_unless_it_is_silent(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a watched node, which takes the part of a node without the driver
    node = ray.get_runtime_context().get_node_id()
    monkeypatch.setattr(pulse, "_EVERY_SECONDS", 0.0)
    pulses = Pulses()
    pulses._here = "another node"
    pulses.look({node})
    watcher = pulses._watched[node].handle
    ray.get(watcher.answer.remote(), timeout=60)

    # when: it counts as silent, and has no worker any more
    monkeypatch.setattr(pulse, "SILENT_SECONDS", -60.0)
    pulses.look({node})
    pulses.look(())
    assert pulses.silent == {node}
    ray.get(watcher.answer.remote(), timeout=60)

    # when: it answers
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 20.0)
    pulses.look(())

    # then: the process, which would keep an autoscaler from taking the node away, ends
    with pytest.raises(RayActorError):
        for _ in range(100):
            ray.get(watcher.answer.remote(), timeout=60)
            time.sleep(0.1)
    pulses.look({node})
    assert pulses._watched[node].handle != watcher, "a worker is there again"
    pulses.close()
