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


def on_accelerator_with_half_batch(task: FitTask) -> FitTask | None:
    """Like `with_half_batch`, but None for a task on a processor, whose memory is enough for the whole batch."""
    return with_half_batch(task) if task.numerics.device == "cuda" else None


def keys_of_results(task: FitTask) -> list[str]:
    """The keys under which the store may hold the result of a task and its checkpoints."""
    half = on_accelerator_with_half_batch(task)
    keys = (key for one in (task, half) if one is not None for key in (one.result_key, one.state_key))
    return list(dict.fromkeys(keys))
