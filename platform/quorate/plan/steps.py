"""A part of a fit: its first epochs, as a task with a result of its own that the whole fit goes on from."""

from __future__ import annotations

from dataclasses import replace

from quorate.plan.identity import digest
from quorate.plan.tasks import FitTask


def until(task: FitTask, epochs: int) -> FitTask:
    """The task that ends after this epoch of a fit, with the result so far.

    Both share their checkpoints, so each continues what the other has trained. The key contains the epochs.
    """
    most = task.params.most_epochs
    assert most is not None and 0 < epochs < most, f"{task} has no such epoch"
    key = digest(what="first epochs", fit=task.key, epochs=epochs)
    return replace(task, key=key, until=epochs, whole=task.key, cost=task.cost * epochs / most, others=())
