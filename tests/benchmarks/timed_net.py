"""A network that logs when its module is imported, when its fit begins, and when its first training step has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from quorate.data.dataset import Dataset
from quorate.members.net import Net
from quorate.members.net_params import NetParams
from quorate.registry import MEMBERS
from quorate.spec import MemberParams
from quorate.training.context import Metrics, Signal, State, TaskContext

LOG = "QUORATE_TIMES"
"""The environment variable with the file to log to."""


class TimedParams(NetParams):
    kind: Literal["timed_net"] = "timed_net"  # type: ignore[assignment]


@MEMBERS.register("timed_net")
class TimedNet(Net):
    """Logs `imported`, `fit` and `step` with the time of day."""

    Params: ClassVar[type[MemberParams]] = TimedParams  # type: ignore[assignment]

    def fit(self, train: Dataset, valid: Dataset, context: TaskContext) -> Self:
        log("fit")
        return super().fit(train, valid, _Timed(context))


class _Timed:
    """A task context that logs its first report."""

    def __init__(self, context: TaskContext) -> None:
        self._context, self._logged = context, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        if not self._logged:
            self._logged = True
            log("step")
        return self._context.report(metrics, state, so_far)


def log(what: str) -> None:
    """Write the time of day, the process, and the seconds of a processor that it has used."""
    with Path(os.environ[LOG]).open("a") as file:
        file.write(f"{time.time()} {os.getpid()} {time.process_time()} {what}\n")


if LOG in os.environ:
    log("imported")  # with the last module that a worker needs
