"""The probe of each node of a cluster, and nodes that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from quorate.execution.ray import probes
from quorate.execution.ray.cluster import ClusterError
from quorate.execution.ray.probes import Probes

SICK = "ab" * 28


@ray.remote(num_cpus=0, max_calls=1)
def _without_torch() -> None:
    raise ModuleNotFoundError("No module named 'torch'")


@pytest.mark.system
def test_a_node_whose_probe_fails_is_left_out_and_only_if_all_fail_the_job_ends(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a node on which nothing starts, and a head without processors, which is not probed
    (here,) = [node for node in ray.nodes() if node["Alive"]]
    other: dict[str, Any] = {**here, "NodeID": SICK, "NodeManagerHostname": "sick"}
    head: dict[str, Any] = {**here, "NodeID": "e" * 56, "Resources": {"memory": 1.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [here, other, head])
    said: list[str] = []
    found = Probes(said.append)

    # then: the job goes on without it, and it is not asked again
    for _ in range(2):
        assert [node.name for node in found.nodes()] == [here["NodeManagerHostname"]]
    assert found.left_out == {SICK}
    (note,) = said
    assert note.startswith(f"the node sick ({SICK}) cannot run Quorate: ") and note.endswith("without it")

    # and then: if all fail, the error says why
    monkeypatch.setattr(ray, "nodes", lambda: [here])
    monkeypatch.setattr(probes, "_probe", _without_torch)
    with pytest.raises(ClusterError, match=r"no node of the cluster can be used: .*ModuleNotFoundError.*torch"):
        Probes(said.append).nodes()
