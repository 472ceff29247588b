"""The task that replaces a fit whose batch was too large for its accelerator."""

from __future__ import annotations

from dataclasses import replace

from quorate.plan.tasks import FitTask, Task
from quorate.registry import MEMBERS


def with_half_batch(task: Task) -> FitTask | None:
    """The fit with half of the batch and twice the accumulation; None if it has no batch, or half of one already.

    A task with a procedure is not changed, because the command that planned it also decides on its batch.
    """
    if not isinstance(task, FitTask) or task.halved or task.procedure is not None:
        return None
    changed = MEMBERS.get(task.kind).halved(task.params, task.numerics)
    if changed is None:
        return None
    params, numerics = changed
    return replace(
        task,
        params=params,
        numerics=numerics,
        halved=True,
        others=tuple(replace(other, params=params, numerics=numerics, halved=True) for other in task.others),
    )
