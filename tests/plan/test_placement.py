"""The memory that tasks reserve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
from tests.features import ARCH, write_weights
from tests.tiny import Nodes, plan_on, tiny_data

from quorate.execution.queue import needs
from quorate.plan.groups import Node
from quorate.plan.placement import reservation, with_measured
from quorate.plan.tasks import FeatureTask, PredictTask
from quorate.training.context import Accelerator, Hardware, MemoryUse

GIB = 1 << 30
PROCESS = 440 << 20
HERE = Hardware(cores=4, gpus=0, fast_bfloat16=False, cpu="a CPU", memory=16 * GIB, room=8 * GIB)
ROWS = tiny_data(rows=400, shape=(8, 8, 1))


def on(hardware: Hardware) -> Nodes:
    return Nodes((Node("here", hardware, (), hardware.cores, hardware.gpus),))


def test_tasks_within_the_memory_of_their_cores_reserve_none() -> None:
    """201 rows of 64 values of 4 bytes, four times, are 0.2 MB; each core comes with 2 GiB."""
    task = plan_on(on(HERE), "{m: svm}", ROWS).tasks[0]

    assert task.estimate == MemoryUse(PROCESS + 4 * 4 * 201 * 64)
    assert (task.share, task.resources.memory) == (2 * GIB, 0)


def test_if_one_task_needs_more_every_task_reserves_its_memory_in_steps_of_256_mib() -> None:
    """With 440 MiB and a tenth more, a task needs 512 MiB; a core comes with 100 MiB."""
    plan = plan_on(on(replace(HERE, room=400 << 20)), "{m: svm, n: {kind: svm, cpus: 4}, o: {kind: svm, memory: 1GiB}}")

    memory = {task.member: task.resources.memory for task in plan.tasks}

    assert memory == {"m": 512 << 20, "n": 512 << 20, "o": GIB}
    assert [note.partition(":")[0] for note in plan.notes] == ["m", "n"]
    assert plan.notes[0] == (
        "m: its estimated memory of 0.4 GiB is more than the 0.4 GiB of a node; each of its tasks runs alone on a node"
    )


def test_the_estimate_of_a_network_grows_with_its_batch() -> None:
    rows = tiny_data(rows=2000)

    def memory(batch: int) -> int:
        found = plan_on(on(HERE), f"{{m: {{kind: net, arch: small_cnn, batch_size: {batch}}}}}", rows).tasks[0].estimate
        assert found is not None
        return found.node - PROCESS

    fixed = 2 * memory(64) - memory(128)
    assert memory(256) == pytest.approx(fixed + 4 * (memory(64) - fixed), rel=0.01)


@pytest.mark.parametrize(("used", "expected"), [(1 * GIB, 1 / 6), (4 * GIB, 1 / 2), (7 * GIB, 1), (20 * GIB, 1)])
def test_the_part_of_an_accelerator_follows_from_what_a_task_used(used: int, expected: float) -> None:
    """10 GiB hold 6 processes of 1.1 GiB and 0.49 GiB for libraries, 2 of 4.4 GiB and 0.49 GiB."""
    gpu = replace(HERE, gpus=1, accelerator=Accelerator("T", 10 * GIB, True))
    task = plan_on(on(gpu), "{m: {kind: net, arch: small_cnn}}", ROWS).tasks[0]

    assert reservation(task, MemoryUse(0, used), counted=False).gpus == expected


def test_the_tasks_of_a_frozen_network_reserve_memory_like_the_others(tmp_path: Path) -> None:
    """The network keeps its weights twice; a core comes with 2 GiB, or with 100 MiB."""
    weights = write_weights(tmp_path / "w.safetensors")
    network = timm.create_model("test_resnet", num_classes=0, in_chans=1)
    size = sum(tensor.nbytes for tensor in network.state_dict().values())

    def features(hardware: Hardware, batch: int = 64) -> FeatureTask:
        backbone = f"{{arch: {ARCH}, weights: {weights}, size: 32, batch_size: {batch}}}"
        return plan_on(on(hardware), f"{{m: {{kind: svm, features: {backbone}}}}}", ROWS).features[0]

    roomy, small, large = features(HERE), features(replace(HERE, room=400 << 20)), features(HERE, batch=128)

    assert roomy.estimate is not None and large.estimate is not None
    per_batch = large.estimate.node - roomy.estimate.node
    assert roomy.estimate.node - per_batch == PROCESS + 2 * size
    assert per_batch > 64 * (8 * 8 + 4 * 32 * 32), "at least the pixels as bytes, and resized as float32"
    assert (roomy.share, roomy.resources.memory) == (2 * GIB, 0)
    assert small.resources.memory == 512 << 20
    assert small.key == roomy.key


def test_workers_multiply_what_a_unit_needs_and_share_its_memory_and_time() -> None:
    rows = tiny_data(rows=400, shape=(32, 32, 3))
    members = (
        "{one: {kind: net, arch: small_cnn, memory: 1GiB}, two: {kind: net, arch: small_cnn, memory: 1GiB, workers: 2}}"
    )

    plan = plan_on(on(HERE), members, rows)
    one, two = (next(task for task in plan.tasks if task.member == name) for name in ("one", "two"))

    assert needs(two.resources) == {"CPU": 2, "memory": 2 * GIB}
    assert str(two.resources) == "2 workers with 1 cpu, 1.0 GiB each"
    assert one.estimate is not None and two.estimate is not None
    assert two.estimate.node < one.estimate.node  # each worker has half of each batch
    assert two.cost == pytest.approx(20 + one.cost / 2)
    assert plan.notes == ("two: each start of its workers takes about 20 s, also after a lost worker",)
    assert PredictTask("key", two).resources.workers == (1, 1)


def test_a_number_of_workers_is_part_of_the_key_and_one_worker_is_not() -> None:
    members = [
        f"{{m: {{kind: net, arch: mlp, {more}}}}}" for more in ("", "workers: 1", "workers: [1, 1]", "workers: 2")
    ]
    members += ["{m: {kind: net, arch: mlp, workers: [1, 2]}}", "{m: {kind: net, arch: mlp, workers: [1, 3]}}"]

    keys = [plan_on(on(HERE), text).tasks[0].key for text in members]

    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[2:])) == 4


def test_what_finished_tasks_used_replaces_the_estimate_of_their_member() -> None:
    """A core comes with 2 GiB: 3 GiB and a tenth more are 3.5 GiB in steps of 256 MiB, and 440 MiB are 512."""
    plan = plan_on(on(HERE), "{m: svm, n: {kind: svm, C: 2}, o: {kind: svm, memory: 1GiB}}", ROWS)

    later = with_measured(plan, {"m": MemoryUse(3 * GIB)})

    assert {task.member: task.resources.memory for task in later.tasks} == {"m": 7 * GIB // 2, "n": GIB // 2, "o": GIB}
    assert [task.key for task in later.tasks] == [task.key for task in plan.tasks]
    assert later.tasks[0].estimate == plan.tasks[0].estimate, "the record of a task keeps the estimate"
    small = {name: MemoryUse(GIB) for name in "mno"}
    assert with_measured(later, small).tasks[0].resources.memory == 0, "all are within the memory of their cores"


def test_networks_share_an_accelerator_by_what_finished_tasks_used() -> None:
    """10 GiB hold two processes of 4.4 GiB and 0.49 GiB for libraries."""
    gpu = replace(HERE, gpus=1, accelerator=Accelerator("T", 10 * GIB, True))
    plan = plan_on(on(gpu), "{m: {kind: net, arch: small_cnn}}", ROWS)

    later = with_measured(plan, {"m": MemoryUse(GIB, 4 * GIB)})

    assert [task.resources.gpus for task in later.tasks] == [1 / 2] * 2
