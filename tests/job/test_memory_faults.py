"""Jobs with members that exhaust a memory: how the screen and the leaderboard name them."""

from __future__ import annotations

from pathlib import Path

from tests.execution import tight_members  # noqa: F401  (registers a kind)
from tests.jobs import NET, SMALL, Here

TIGHT = {**NET, "kind": "tight", "epochs": 1, "batch_size": 64}
MEMBERS = {
    "small": {**TIGHT, "largest": 64},
    "half": {**TIGHT, "largest": 32},
    "large": {**TIGHT, "largest": 8},
    "logistic": {"kind": "logistic"},
}


def test_a_job_says_which_members_have_half_of_their_batch_and_which_failed_for_memory(tmp_path: Path) -> None:
    here = Here(tmp_path)

    board = here.run({**SMALL, "members": MEMBERS})

    assert {row["name"]: row["status"] for row in board["members"]} == {
        "small": "ok",
        "half": "half batch",
        "large": "failed: memory",
        "logistic": "ok",
    }
    assert board["tasks"] == {"total": 8, "trained": 6, "reused": 0, "failed": 2}
    assert "it is tried again with batches of 32" in here.said
    failed = next(line for line in here.said.splitlines() if "member large" in line and "attempt 2: failed" in line)
    assert "out of memory" in failed and "estimated " in failed and "used " in failed
