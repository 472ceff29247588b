"""A `Run` for members that are trained without an executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quorate.data.dataset import Images
from quorate.training.context import Metrics, Numerics, Signal, State
from quorate.training.state import pack_state, unpack_state


@dataclass
class PlainRun:
    """Records every report, and returns the given signals for the reports with the given numbers, counted from 1."""

    seed: int = 1
    numerics: Numerics = field(default_factory=lambda: Numerics(batch_size=32))
    deadline: float | None = None
    restored: State | None = None
    answers: Mapping[int, Signal] = field(default_factory=dict)
    reports: list[Metrics | None] = field(default_factory=list)
    kept: dict[int, bytes] = field(default_factory=dict)
    """Packed states by the number of the report that asked for them."""
    unlabelled: Images | None = None

    def report(
        self, metrics: Metrics | None, state: Callable[[], State], so_far: Callable[[], object] | None = None
    ) -> Signal:
        self.reports.append(metrics)
        signal = self.answers.get(len(self.reports), Signal.CONTINUE)
        if signal is not Signal.CONTINUE:
            self.kept[len(self.reports)] = pack_state(state())
        return signal

    def asset(self, path: Path) -> Path:
        return path

    def resumed(self, number: int) -> PlainRun:
        """A new run that resumes from the state of report `number`."""
        restored = unpack_state(self.kept[number])
        return PlainRun(self.seed, self.numerics, restored=restored, unlabelled=self.unlabelled)
