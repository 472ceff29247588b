"""The plan that `quorate train --dry-run` shows, for nodes that differ."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tests.tiny import Nodes, tiny_data, two_folds

from quorate.cli.job_plan import _plan_json, _print_plan, show_plan
from quorate.data.decoding import Corrupt, DecodingBatch
from quorate.execution.workplace import Workplace
from quorate.plan.groups import Node
from quorate.plan.placement import with_measured
from quorate.plan.planner import make_plan
from quorate.plan.tasks import JobData, Resources
from quorate.spec import load_job
from quorate.training.context import Accelerator, Hardware, MemoryUse

GIB = 1 << 30
OLD = Hardware(cores=16, gpus=0, fast_bfloat16=False, cpu="old", memory=64 * GIB, room=40 * GIB)
NEW = replace(OLD, fast_bfloat16=True, cpu="new", room=20 * GIB)
GPU = replace(OLD, gpus=2, accelerator=Accelerator("H100", 80 * GIB, True))
PLACES = Nodes(
    (
        Node("a", OLD, (("zone", "x"),), 16),
        Node("b", OLD, (("zone", "x"),), 16),
        Node("c", NEW, (("zone", "y"),), 16),
        Node("d", GPU, (("zone", "y"),), 16, 2),
    )
)
JOB = """
data: digits
members:
  shared: {kind: net, arch: small_cnn}
  fast: {kind: net, arch: small_cnn, gpus: 0, needs: {zone: y}}
  slow: {kind: net, arch: small_cnn, gpus: 0, needs: {zone: x}}
  svm: svm
"""


def test_the_plan_names_the_group_the_numerics_and_the_memory_of_each_member(job_file: Callable[[str], Path]) -> None:
    job, rows = load_job(job_file(JOB)), tiny_data(shape=(16, 16, 1))
    plan = make_plan(job.spec, JobData(rows, None, two_folds()), PLACES)
    plan = with_measured(plan, {"svm": MemoryUse(3 * GIB)})
    groups = PLACES.groups_for(Resources(cpus=0))
    done = {plan.of("svm")[0].key: MemoryUse(3 * GIB)}

    found, text = _plan_json(job, plan, done.keys(), (), groups, done), io.StringIO()
    _print_plan(plan, done.keys(), (), groups, done, Console(file=text, width=150))

    first = {task["member"]: task for task in found["tasks"] if task["fold"] == 1}
    assert {name: task["groups"] for name, task in first.items()} == {
        "shared": [1],
        "fast": [2],
        "slow": [3],
        "svm": [1, 2, 3],
    }
    precisions = {name: (task["numerics"]["device"], task["numerics"]["precision"]) for name, task in first.items()}
    assert precisions == {
        "shared": ("cuda", "bfloat16"),
        "fast": ("cpu", "bfloat16"),
        "slow": ("cpu", "float32"),
        "svm": ("cpu", "float32"),
    }
    assert first["svm"]["memory"]["used"] == {"node": 3 * GIB, "accelerator": 0}
    second = next(task for task in found["tasks"] if task["member"] == "svm" and task["fold"] == 2)
    assert second["memory"]["expected"] == {"node": 3 * GIB, "accelerator": 0} and second["memory"]["used"] is None
    assert first["slow"]["memory"]["expected"] == first["slow"]["memory"]["estimated"]
    assert first["slow"]["memory"]["used"] is None and first["slow"]["memory"]["estimated"]["node"] > 440 << 20
    assert first["shared"]["memory"]["estimated"]["accelerator"] > 0
    assert [(len(group["nodes"]), group["accelerators"]) for group in found["groups"]] == [(1, 2), (1, 0), (2, 0)]
    lines = text.getvalue().splitlines()
    assert lines[:3] == [
        "group 1, 1 node: 16 cores old, 40.0 GiB for tasks, 2 x H100 (80 GiB)",
        "group 2, 1 node: 16 cores new, fast bfloat16, 20.0 GiB for tasks",
        "group 3, 2 nodes: 16 cores old, 40.0 GiB for tasks",
    ]
    assert lines[3].startswith("fast: its numerics depend on the node; it runs on 1 node: 16 cores new, fast bfloat16")
    assert any(line.startswith("│svm") and "│ any " in line and ", used 3.0 GiB " in line for line in lines)
    assert any(line.startswith("│svm") and ", expected 3.0 GiB " in line for line in lines)


def test_a_dry_run_decodes_pictures_where_the_job_would_run(
    job_file: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: pictures that have not been decoded
    monkeypatch.setenv("QUORATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    job = load_job(job_file("data: {kind: image_folder, train: pictures, size: 8}\nmembers: {svm: svm}\n"))
    decode, asked = Workplace.decode, []

    def noted(self: Workplace, batches: Sequence[DecodingBatch]) -> list[Corrupt]:
        found = decode(self, batches)
        asked.append((sum(len(batch.paths) for batch in batches), self.starts_ray))
        return found

    monkeypatch.setattr(Workplace, "decode", noted)

    # when
    show_plan(job, str(tmp_path / "store"), None, Console(file=io.StringIO()), as_json=False)

    # then
    assert asked == [(12, True)], "a local Ray is not started for them"


@pytest.mark.parametrize("budget", ["1m", "null"])
def test_a_job_that_can_grow_says_so(
    job_file: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    text = f"data: {{kind: digits, limit: 200}}\ngrow: true\nmembers: {{svm: svm}}\nexecution: {{budget: {budget}}}\n"
    job = load_job(job_file(text), ["execution.executor=local"])
    out, store = io.StringIO(), str(tmp_path / "store")

    show_plan(job, store, None, Console(file=out, width=200), as_json=False)
    show_plan(job, store, None, Console(file=out), as_json=True)

    said = "within its budget, the job may add copies of these members and members of the portfolio (which has "
    assert (said in out.getvalue()) == (budget == "1m")
    assert ("grows" in json.loads(capsys.readouterr().out)) == (budget == "1m")
