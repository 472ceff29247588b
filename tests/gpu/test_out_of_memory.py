"""A network that really exhausts the memory of its accelerator is trained with half of its batch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.execution.jobs import failures, fitted, plan_of, run, task_of

from quorate.execution.local import LocalExecutor

pytestmark = pytest.mark.gpu

WIDE = {"kind": "net", "arch": {"kind": "small_cnn", "width": 256}, "size": 64, "epochs": 1, "gpus": 1}


@pytest.fixture
def limit() -> Iterator[None]:
    """Undo the limit of this process."""
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_a_batch_that_exhausts_the_accelerator_is_halved_once(limit: None) -> None:
    plan = plan_of({"wide": {**WIDE, "batch_size": 128}})
    task = task_of(plan, "wide")
    before = run(LocalExecutor(), plan)
    assert not failures(before), "without a limit, it fits"
    whole = fitted(before)[task.key].memory
    assert whole is not None
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory

    torch.cuda.set_per_process_memory_fraction(0.75 * whole.accelerator / total)
    events = run(LocalExecutor(), plan)

    own = [one for one in failures(events) if one.task.key == task.key]
    assert [(one.status, one.device, one.final) for one in own] == [("memory", "cuda", False)]
    assert own[0].used is not None and 0 < own[0].used.accelerator <= whole.accelerator
    assert own[0].message.endswith("; it is tried again with batches of 64")
    assert fitted(events)[task.key].task.halved
