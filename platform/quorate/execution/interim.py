"""Interim results of a network under a deadline, made during training as often as their cost allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from quorate.data.dataset import Inputs
from quorate.execution.events import Fitted
from quorate.members.base import Member

SHARE = 0.05
"""Largest part of the training time that interim results may take, besides the first and those of the last epochs (an
assumption)."""
FIRST = 0.1
"""Largest part of the remaining time that the first one may take; if it takes more, it waits for the last epochs
(an assumption)."""
SLOWER = 2.0
"""The next epoch and its predictions may take up to this many times as long as the last ones (an assumption): a result
is made before the epoch if there would be no time for one after it."""
ENOUGH = 0.9
"""An epoch starts only if at least this part of the duration of the last epoch is left (an assumption)."""
_PROBE = 256
"""Number of rows that are predicted first, to estimate the time for all rows (an assumption)."""


@dataclass
class Interim:
    """The newest interim result of a task, and the speeds that were measured for it.

    `make` returns the result of a member in its current state. Times are those of `time.monotonic`, in seconds.
    """

    make: Callable[[Member], Fitted]
    valid: Inputs
    clock: Callable[[], float] = time.monotonic
    newest: Fitted | None = None
    member: Member | None = None
    """The member that made `newest`."""
    fresh: bool = False
    """Whether `newest` is from the best epoch so far."""
    cost: float = 0.0
    """Seconds to make a result; 0 before the first measurement."""
    spent: float = 0.0
    pace: float = 0.0
    """Seconds of the last epoch."""
    row_seconds: float = 0.0
    """Seconds to predict a row, as measured for the last result."""
    begun: float = 0.0
    _so_far: Callable[[], object] | None = field(default=None, repr=False)
    _last: float = 0.0

    def begin(self) -> None:
        self.begun = self._last = self.clock()

    @property
    def known(self) -> bool:
        """Whether the member supports interim results and has finished an epoch."""
        return self._so_far is not None

    def after_epoch(self, so_far: Callable[[], object] | None, *, due: float, epochs_left: int) -> Fitted | None:
        """Make a new result if it is time for one; `so_far` is given where the epoch was better than those before."""
        now = self.clock()
        self.pace, self._last = now - self._last, now
        if so_far is not None:
            self._so_far, self.fresh = so_far, False
        if self._so_far is None or self.fresh or epochs_left == 0:
            return None
        return self._made_if_due(due - now, epochs_left)

    def nothing_more_fits(self, due: float) -> bool:
        """Whether the next epoch would not end in time; False before the first epoch has ended."""
        return self.known and due - self.clock() < ENOUGH * self.pace + self.ending

    @property
    def ending(self) -> float:
        """Seconds to make the result after training ends."""
        return 0.0 if self.fresh else self.cost

    def last(self, member: Member, left: float) -> Fitted:
        """The result of a stopped `member`: the newest, unless a better one can be made in the seconds left."""
        if self.newest is not None and (self.fresh or self.cost > left):
            return replace(self.newest, history=member.history) if self.fresh else self.newest
        return self._make(member)

    def _made_if_due(self, left: float, epochs_left: int) -> Fitted | None:
        """Make a result if training may not end in time, and the result is cheap or this is the last chance.

        If there is no time for a result, none is made, unless the task has no result at all.
        """
        if SLOWER * epochs_left * self.pace + self.cost < left:
            return None
        member = None
        if not self.cost:
            member = self._probe()
            left -= self.clock() - self._last
        too_late = self.newest is not None and self.cost > left
        last_chance = left < SLOWER * (self.pace + self.cost)
        if too_late or not (last_chance or self._is_cheap(left)):
            self._account()
            return None
        return self._make(member)

    def _is_cheap(self, left: float) -> bool:
        if self.newest is None:
            return self.cost <= FIRST * left
        return self.spent + self.cost <= SHARE * (self.clock() - self.begun)

    def _probe(self) -> Member:
        """Estimate the cost of a result from a few rows."""
        begun = self.clock()
        member = self._now()
        rows = min(_PROBE, len(self.valid))
        copied = self.clock()
        member.predict_proba(self.valid.subset(np.arange(rows)))
        predicted = self.clock()
        self.row_seconds = (predicted - copied) / rows
        self.cost = copied - begun + self.row_seconds * len(self.valid)
        return member

    def _now(self) -> Member:
        assert self._so_far is not None
        return cast(Member, self._so_far())

    def _make(self, member: Member | None) -> Fitted:
        begun = self.clock()
        chosen = member if member is not None else self._now()
        self.newest, self.member, self.fresh = self.make(chosen), chosen, True
        self.cost = max(self.clock() - begun, 1e-3)
        self.row_seconds = (self.newest.predict_ms or 0.0) / 1e3
        self._account()
        return self.newest

    def _account(self) -> None:
        now = self.clock()
        self.spent, self._last = self.spent + now - self._last, now
