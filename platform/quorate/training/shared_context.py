"""The task context of several workers that train one network: one report, and the same answer for all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import torch
from torch import distributed

from quorate.training.context import DelegatingContext, Metrics, Signal, State, TaskContext

Channel = Callable[[int], int]
"""Sends a number from the first worker to the others; returns it in all of them, whatever the others give."""

_PATIENCE = timedelta(days=1)
"""How long the other workers wait while the first one predicts, or writes to a store that does not answer."""
_STATE = -1
"""What the channel says when the other workers must take part in making a state."""
_SIGNALS = list(Signal)


def open_channel() -> Channel:
    """Open a channel between the processes of torch's process group; it works on the CPU, and so waits for no
    accelerator."""
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, distributed.ProcessGroup), "every process is in it"

    def send(number: int) -> int:
        said = torch.tensor(number)
        distributed.broadcast(said, 0, group=group)
        return int(said)

    return send


class SharedContext(DelegatingContext):
    """The context of worker number `rank`, from 0: the first worker reports for all, and passes on the answer."""

    def __init__(self, context: TaskContext, *, rank: int, channel: Channel) -> None:
        super().__init__(context, context.restored)
        self._rank, self._channel = rank, channel

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        """Report as the first worker, or wait for its answer; all workers take part in making a state."""
        if self._rank:
            while (answer := self._channel(0)) == _STATE:
                state()
            return _SIGNALS[answer]

        def made_together() -> State:
            self._channel(_STATE)
            return state()

        signal = self._context.report(metrics, made_together, so_far)
        self._channel(_SIGNALS.index(signal))
        return signal
