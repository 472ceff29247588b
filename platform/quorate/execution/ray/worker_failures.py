"""What is known about the tasks of a worker that has died or was ended: the cause, its log, the memory that it used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ray.exceptions import OutOfMemoryError

from quorate.execution.events import Failed
from quorate.execution.memory_faults import used_when_ended
from quorate.execution.ray.actor import Actor
from quorate.execution.ray.worker_signals import cause_of_death
from quorate.plan.tasks import Task
from quorate.training.context import MemoryUse

_TAIL_LINES = 20
_ENDED_FOR_MEMORY = "Ray ended the worker, because the memory of its node was exhausted"


@dataclass(frozen=True)
class LostHost:
    """A host that was lost with its workers, by its address, and what is known: `was lost`."""

    address: str
    what: str

    def __str__(self) -> str:
        return f"host {self.address} {self.what}"


def failures_of(actor: Actor, tasks: Sequence[Task], cause: Exception | LostHost | str) -> list[Failed]:
    """The failures of the tasks of a worker that has died, was lost with its host, or is ended for a reason."""
    log = _read(actor.log)
    host = cause.address if isinstance(cause, LostHost) else ""
    failures = [Failed(task, 0, "lost", str(cause), _tail(log), actor.log, host=host) for task in tasks]
    if isinstance(cause, OutOfMemoryError):
        used = used_when_ended(str(cause), actor.handle._actor_id.hex())
        each = MemoryUse(used.node // max(len(tasks), 1)) if used is not None else None
        return [replace(one, status="memory", message=_ENDED_FOR_MEMORY, used=each) for one in failures]
    if isinstance(cause, Exception):
        reason = cause_of_death(str(cause) or type(cause).__name__, log)
        return [replace(one, message=f"the worker died: {reason}") for one in failures]
    return failures


def _read(log: str) -> str | None:
    """The log of a worker; None if it is not on this machine."""
    try:
        return Path(log).read_text(errors="replace") if log else None
    except OSError:
        return None


def _tail(log: str | None) -> str:
    """The last lines of a worker's log."""
    return "\n".join((log or "").splitlines()[-_TAIL_LINES:])
