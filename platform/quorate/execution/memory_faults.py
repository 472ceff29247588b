"""Tasks that exhausted a memory: recognize them, say what they used, and change their next attempt."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from quorate.execution.events import Failed
from quorate.execution.reservations import Reservations
from quorate.plan.half_batch import with_half_batch
from quorate.plan.tasks import Task
from quorate.training.context import Device, MemoryUse

_REFUSED = "DefaultCPUAllocator: can't allocate memory"
"""Text of torch's error when the system refuses memory (torch 2.15); it is a plain RuntimeError."""
_USED = re.compile(r"Actor\((\w+)\).*?actual memory used=([\d.]+)GB")
"""What Ray's memory monitor says about each worker that it has ended (seen with Ray 2.60); its GB are GiB."""


def exhausted_device(error: BaseException) -> Device | None:
    """The device whose memory was exhausted; None if this is another error."""
    if isinstance(error, torch.OutOfMemoryError):
        return "cuda"
    return "cpu" if isinstance(error, MemoryError) or _REFUSED in str(error) else None


def used_when_ended(message: str, actor_id: str) -> MemoryUse | None:
    """What the worker used when Ray's memory monitor ended it, by the monitor's message; None if it does not say."""
    used = {name: float(amount) for name, amount in _USED.findall(message)}
    return MemoryUse(int(used[actor_id] * 2**30)) if actor_id in used else None


class MemoryFaults:
    """Decides what follows when tasks exhaust a memory.

    Memory of a node: the estimate of the member is raised, and the next attempt runs alone on a node. Memory of an
    accelerator: the next attempt is another task, with half of the batch.
    """

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    def judge(self, event: Failed, *, ended: bool) -> tuple[Failed, Task]:
        """The failure with both figures in its message, and the task of the next attempt; `ended` if the monitor of the
        node ended its worker.

        A worker that used no more than its estimate was not the cause, and one whose use is not known perhaps not:
        their tasks count as lost.
        """
        task, used, expected = event.task, event.used, self._reservations.expected(event.task)
        figures = _figures(expected, used, event.device)
        if event.device == "cuda":
            half = with_half_batch(task)
            plan = f"; it is tried again with batches of {half.numerics.batch_size}" if half is not None else ""
            failed = replace(event, message=f"{event.message}; {figures}{plan}", certain=half is None)
            return failed, half if half is not None else task
        within = expected is not None and used is not None and used.node <= expected.node
        if ended and (used is None or (within and not self._reservations.is_alone(task))):
            self._reservations.count_all()
            return replace(event, status="lost", message=f"{event.message}; {figures}"), task
        self._reservations.exhausted(task, used)
        return replace(event, message=f"{event.message}; {figures}"), task


def _figures(expected: MemoryUse | None, used: MemoryUse | None, device: Device) -> str:
    return f"estimated {_amount(expected, device)}, used {_amount(used, device)}"


def _amount(use: MemoryUse | None, device: Device) -> str:
    if use is None:
        return "unknown"
    return f"{(use.node if device == 'cpu' else use.accelerator) / 2**30:.2f} GiB"
