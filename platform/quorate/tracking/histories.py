"""Read the learning curves of a run from its journal, during the run or after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quorate.tracking.journal import records
from quorate.tracking.records import MetricsRecord, RunRecord


@dataclass(frozen=True)
class MemberHistory:
    """The learning curves of one member."""

    kind: str
    restored: bool
    """Whether early stopping restored the weights of the best epoch."""
    histories: Mapping[str, Sequence[Mapping[str, float]]]
    """Metrics of each epoch, in order, by the name of the fit task, such as `cnn.2 fold 1`."""


def histories(path: Path) -> dict[str, MemberHistory]:
    """Learning curves by name of the member, in the order in which the members started; raises `JournalError`.

    If an epoch was trained twice, the later one counts.
    """
    kinds: dict[str, str] = {}
    restored: dict[str, bool] = {}
    fits: dict[str, RunRecord] = {}
    epochs: dict[str, dict[int, Mapping[str, float]]] = {}
    for record in records(path):
        match record:
            case RunRecord(level="member"):
                kinds.setdefault(record.member, record.member_kind)
                restored.setdefault(record.member, record.stops_early)
            case RunRecord(level="fold") if not record.is_view:
                fits[record.uid] = record
                restored[record.member] |= record.stops_early
            case MetricsRecord() if record.uid in fits:
                epochs.setdefault(record.uid, {})[record.step] = record.values
    curves: dict[str, dict[str, list[Mapping[str, float]]]] = {name: {} for name in kinds}
    for uid, steps in epochs.items():
        curves[fits[uid].member][fits[uid].name] = [steps[step] for step in sorted(steps)]
    return {name: MemberHistory(kind, restored[name], curves[name]) for name, kind in kinds.items()}
