"""Two nodes of a real Ray that differ in their labels, cores and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GIB = 1 << 30

JOB = """
data: {kind: digits, limit: 200}
members:
  anywhere: naive_bayes
  large: {kind: naive_bayes, memory: 3GiB}
  labelled: {kind: logistic, needs: {zone: y, accelerator: H100}}
validation: {folds: 2}
tracking: {enabled: false}
"""
SCRIPT = """
import json
from ray.cluster_utils import Cluster
from typer.testing import CliRunner

from quorate.cli import app
from quorate.execution.ray.cluster import start_ray
from quorate.plan.tasks import Resources

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 1 << 30, "labels": {"zone": "x"}})
labels = {"zone": "y", "ray.io/accelerator-type": "H100"}
nodes.add_node(num_cpus=2, memory=4 << 30, labels=labels)
options = ["--dry-run", "--json", "--store", "store", "--address", nodes.address]
shown = CliRunner().invoke(app, ["train", "job.yaml", *options], catch_exceptions=False)

import ray
from ray._private.state import actors
from quorate.execution.ray.worker import Worker
from quorate.execution.ray.autoscaling import actor_options
from quorate.execution.ray.executor import RayExecutor

wanted, elsewhere = Resources(labels=tuple(sorted(labels.items()))), Resources(labels=(("zone", "z"),))
executor = RayExecutor(own=False)
slots = [executor.slots(one) for one in (Resources(), Resources(memory=3 << 30), wanted, elsewhere)]
actor = Worker.options(**actor_options(wanted)).remote((ray.put(None),), (ray.put(None),), wanted, False)
ray.get(actor.stop.remote())
(about,) = actors().values()
where = next(node["Labels"]["zone"] for node in ray.nodes() if node["NodeID"] == about["Address"]["NodeID"])
print(json.dumps({"plan": shown.stdout, "slots": slots, "where": where}))
ray.shutdown()
nodes.shutdown()
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a script sees of a cluster of two nodes that it starts and ends."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "job.yaml").write_text(JOB)
    paths = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.system
def test_a_dry_run_on_a_cluster_names_the_groups_that_each_member_can_run_on(seen: dict[str, object]) -> None:
    plan = json.loads(str(seen["plan"]))

    groups = [(group["cores"], group["memory_for_tasks"]) for group in plan["groups"]]
    assert groups == [(2, 4 * GIB), (1, GIB)]
    assert [group["nodes"][0]["labels"]["zone"] for group in plan["groups"]] == ["y", "x"]
    where = {task["member"]: task["groups"] for task in plan["tasks"]}
    assert where == {"anywhere": [1, 2], "large": [1], "labelled": [1]}
    resources = {task["member"]: task["resources"] for task in plan["tasks"]}
    assert resources["labelled"] == "1 cpu, ray.io/accelerator-type=H100, zone=y"


@pytest.mark.system
def test_units_run_on_nodes_with_their_labels(seen: dict[str, object]) -> None:
    assert seen["slots"] == [3, 1, 2, 0]
    assert seen["where"] == "y"
