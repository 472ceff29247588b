"""Curves are read from the journal as they were trained."""

from __future__ import annotations

import math
from pathlib import Path

from quorate.tracking.histories import histories
from quorate.tracking.journal import Journal


def test_epochs_are_read_by_member_and_fit_task(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as notes:
        notes.run("job", name="j", parent=None, tags={"quorate.level": "job"}, params={}, start_ms=0)
        member = {"quorate.level": "member", "quorate.kind": "net"}
        notes.run("job/cnn", name="cnn", parent="job", tags=member, params={"early_stopping.patience": 3}, start_ms=0)
        notes.metrics("job/cnn", 0, {"oof_nll": 1.0})
        fold = {"quorate.level": "fold"}
        notes.run("job/cnn/0/0", name="cnn fold 1", parent="job/cnn", tags=fold, params={"member": "cnn"}, start_ms=0)
        notes.metrics("job/cnn/0/0", 2, {"valid_loss": 0.5})
        notes.metrics("job/cnn/0/0", 1, {"valid_loss": math.nan})
        notes.metrics("job/cnn/0/0", 2, {"valid_loss": 0.4})  # trained again after a crash
        whole = {"quorate.level": "all rows"}
        notes.run("job/cnn/0/-1", name="cnn all", parent="job/cnn", tags=whole, params={"member": "cnn"}, start_ms=0)
        notes.metrics("job/cnn/0/-1", 1, {"valid_loss": 0.1})  # on rows that it has seen

        found = histories(path)

    assert list(found) == ["cnn"]
    assert found["cnn"].kind == "net"
    assert found["cnn"].restored
    (epochs,) = found["cnn"].histories.values()
    assert math.isnan(epochs[0]["valid_loss"])
    assert epochs[1:] == [{"valid_loss": 0.4}]
