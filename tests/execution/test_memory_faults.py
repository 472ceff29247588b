"""Members that exhaust the memory of a node or of an accelerator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.execution import tight_members  # noqa: F401  (registers a kind)
from tests.execution.jobs import CNN, failures, fitted, hashes, plan_of, run, task_of

from quorate.execution.backlog import Backlog
from quorate.execution.base import Policy
from quorate.execution.events import Cancelled, Failed
from quorate.execution.local import LocalExecutor
from quorate.execution.memory_faults import exhausted_device, used_when_ended
from quorate.plan.half_batch import with_half_batch
from quorate.plan.tasks import Resources, Task, Unit
from quorate.training.context import MemoryUse

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
TIGHT = {**CNN, "kind": "tight", "epochs": 1, "batch_size": 64}
ENDED = (
    "OOM kill reason: Memory usage 15522004992B exceeded threshold of 15519779840B (61.4% of 25276514304B limit)\n"
    "Considered workers: [\nSelected to kill: (Actor(590771dba923): job ID=01000000, task name=W.__init__, required "
    "resources={CPU: 1}, pid=8551, actual memory used=0.56GB, worker ID=c69ba6)\nSelected to kill: (Actor(77aa): "
    "pid=3, actual memory used=2.00GB, worker ID=e1)\n]\n"
)


def test_errors_of_memory_are_distinguished_from_others_and_by_their_device() -> None:
    raised = []
    for allocate in (lambda: np.ones(10**15), lambda: torch.empty(10**15)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        raised.append(caught.value)

    assert [exhausted_device(error) for error in raised] == ["cpu", "cpu"]  # type: ignore[arg-type]
    assert exhausted_device(torch.OutOfMemoryError("CUDA out of memory.")) == "cuda"
    assert exhausted_device(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_the_message_of_the_memory_monitor_says_what_the_worker_used() -> None:
    assert used_when_ended(ENDED, "590771dba923") == MemoryUse(int(0.56 * GIB))
    assert used_when_ended(ENDED, "77aa") == MemoryUse(2 * GIB)
    assert used_when_ended(ENDED, "0000") is None


def test_after_a_task_exhausted_a_node_it_gets_a_whole_node_once_and_its_member_reserves_more() -> None:
    plan = plan_of({"large": {"kind": "odd"}})
    first, second = (replace(task_of(plan, "large", fold), estimate=MemoryUse(GIB), share=2 * GIB) for fold in range(2))
    whole = Resources(cpus=8, memory=16 * GIB, threads=1)
    backlog = Backlog(Policy(), lambda resources: 16 * GIB, lambda resources: whole)
    backlog.submit([Unit((first,)), Unit((second,))])
    (taken, waiting) = (backlog.take(lambda resources: ()) for _ in range(2))
    assert taken is not None and waiting is not None and taken.resources == Resources()
    backlog.submit([Unit((second,))])
    ended = Failed(first, 0, "memory", "Ray ended the worker", used=MemoryUse(4 * GIB))

    (once,) = backlog.lost([ended])
    alone = next(
        unit for unit in (backlog.take(lambda _: ()), backlog.take(lambda _: ())) if unit and first in unit.tasks
    )
    (twice,) = backlog.lost([replace(ended, used=MemoryUse(15 * GIB))])

    assert (once.status, once.final) == ("memory", False)
    assert once.message == "Ray ended the worker; estimated 1.00 GiB, used 4.00 GiB"
    assert alone.resources == whole
    assert (twice.status, twice.final) == ("memory", True)
    # the estimate was raised to 1.5 times what the first attempt had used
    assert twice.message == "out of memory: Ray ended the worker; estimated 6.00 GiB, used 15.00 GiB"


@pytest.mark.parametrize("used", [MemoryUse(GIB), None])
def test_a_worker_that_used_less_than_its_estimate_or_an_unknown_amount_counts_as_lost(used: MemoryUse | None) -> None:
    plan = plan_of({"small": {"kind": "odd"}})
    task = replace(task_of(plan, "small"), estimate=MemoryUse(2 * GIB), share=4 * GIB)
    backlog = Backlog(Policy(), lambda resources: 16 * GIB, lambda resources: Resources(cpus=8))

    (counted,) = backlog.lost([Failed(task, 0, "memory", "Ray ended the worker", used=used)])

    assert (counted.status, counted.final) == ("lost", False)
    again = backlog.take(lambda _: ())
    assert again is not None and again.resources.cpus == 1 and again.resources.memory >= 2 * GIB


def test_a_network_that_is_too_large_for_its_accelerator_is_trained_with_half_of_the_batch() -> None:
    plan = plan_of({"cnn": TIGHT})
    same = plan_of({"cnn": {**TIGHT, "batch_size": 32, "accumulate": 2}})  # the seeds come from the name

    events = run(LocalExecutor(), plan)

    tried = failures(events)
    assert [(one.status, one.device, one.attempt, one.final) for one in tried] == [("memory", "cuda", 1, False)] * 2
    assert "CUDA out of memory" in tried[0].message and "used 0.00 GiB" in tried[0].message
    assert tried[0].message.endswith("; it is tried again with batches of 32")
    assert list(hashes(events).values()) == list(hashes(run(LocalExecutor(), same)).values())
    for task, done in zip(plan.tasks, fitted(events).values(), strict=True):
        assert done.task.halved and done.task.key == task.key and done.task.result_key != task.key


def test_half_of_the_batch_is_tried_once_and_then_the_task_fails_with_both_figures() -> None:
    events = run(LocalExecutor(), plan_of({"cnn": {**TIGHT, "largest": 8}}))

    own = [one for one in failures(events) if one.task.fold == 0]
    assert [(one.status, one.attempt, one.final) for one in own] == [("memory", 1, False), ("memory", 2, True)]
    assert own[-1].message.startswith("out of memory: OutOfMemoryError: CUDA out of memory.")
    assert "estimated 0.00 GiB, used 0.00 GiB" in own[-1].message  # on the accelerator, which there is not


def test_views_are_halved_with_their_network_and_other_kinds_are_not() -> None:
    plan = plan_of({"cnn": {**CNN, "ema": 0.9, "batch_size": 5, "accumulate": 3}, "svm": {"kind": "svm"}})

    half = with_half_batch(task_of(plan, "cnn"))

    assert half is not None and (half.numerics.batch_size, half.params.accumulate) == (2, 6)  # type: ignore[attr-defined]
    assert [other.halved for other in half.others] == [True]
    assert len({one.result_key for one in half.all} | {one.key for one in half.all}) == 4
    assert with_half_batch(half) is None
    assert with_half_batch(task_of(plan, "svm")) is None


@pytest.mark.system
def test_a_worker_that_reserves_a_whole_node_keeps_its_number_of_threads(ray_session: None) -> None:
    import ray

    from quorate.execution.ray.autoscaling import actor_options

    @ray.remote
    class Threads:
        def number(self) -> str | None:
            return os.environ.get("OMP_NUM_THREADS")

    actor = Threads.options(**actor_options(Resources(cpus=2, threads=1))).remote()  # type: ignore[attr-defined]
    number = ray.get(actor.number.remote())
    ray.kill(actor)

    assert number == "1"


@pytest.mark.chaos
@pytest.mark.slow
def test_a_member_that_exhausts_the_memory_of_its_node_fails_alone_after_one_retry_without_others() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not permitted here")
    script = 'mount -t tmpfs none /sys/fs/cgroup && exec "$0" -m tests.execution.memory_job'
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    events = [json.loads(line.removeprefix("EVENT ")) for line in done.stdout.splitlines() if line.startswith("EVENT ")]

    own = [one for one in events if one["member"] == "swell"]
    memory = [one for one in own if one.get("status") == "memory"]
    assert [one["final"] for one in memory] == [False, True], own
    assert memory[0]["message"].startswith(
        "Ray ended the worker, because the memory of its node was exhausted; estimated "
    )
    assert memory[1]["message"].startswith("out of memory: Ray ended the worker") and ", used " in memory[1]["message"]
    last = max(i for i, one in enumerate(events) if one in own and one["event"] == "Started")
    assert events[last + 1] in own, "no other task starts or ends while it is alone on the node"
    assert sum(one["event"] == "Fitted" for one in events) == 2


def test_a_task_with_half_of_its_batch_that_waits_behind_another_one_can_be_cancelled() -> None:
    whole = plan_of({"cnn": CNN}).tasks[0]
    half, rest = replace(whole, halved=True), deque[Task]()
    rest.append(half)
    backlog = Backlog(Policy())

    assert backlog.cancel_next(whole, rest), "the caller knows the planned task only"

    assert not rest and list(backlog.ended()) == [Cancelled(half)]
    assert not backlog.cancel_next(whole, rest)
