"""Writes what remains of a finished run into its folder: predictions and the leaderboard."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quorate.data.dataset import Dataset
from quorate.ensemble.assemble import Assembly
from quorate.json_text import json_text
from quorate.plan.tasks import Plan
from quorate.report.leaderboard import as_text
from quorate.results.oof import OofPredictions
from quorate.runs.folder import BOARD, RunFolder


def write_end(
    folder: RunFolder,
    board: dict[str, Any],
    plan: Plan,
    gathered: OofPredictions,
    assembly: Assembly,
    test: NDArray[np.float64] | None,
) -> None:
    """Write `oof.npz`, `test.npz` and the leaderboard; this comes last and marks the run finished."""
    arrays = {
        "proba": gathered.proba,
        "mask": gathered.mask,
        "y": plan.context.train.y,
        "members": np.array(plan.labels),
        "ensemble": assembly.crossfit_proba,
        "learnable": gathered.learnable,
    }
    arrays |= _dependence(plan.context.train)
    folder.write("oof.npz", _packed(arrays))
    if gathered.test is not None and test is not None and (data := plan.context.test) is not None:
        arrays = {
            "proba": gathered.test,
            "tested": gathered.tested,
            "ensemble": test,
            "y": data.y,
            "fingerprint": np.array(data.fingerprint),
        }
        arrays |= _dependence(data)
        folder.write("test.npz", _packed(arrays))
    write_board(folder, board)


def write_board(folder: RunFolder, board: dict[str, Any]) -> None:
    """Write the leaderboard as text and, last, as JSON."""
    folder.write("leaderboard.txt", as_text(board).encode())
    folder.write(BOARD, json_text(board).encode())


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _dependence(data: Dataset) -> dict[str, NDArray[Any]]:
    """The groups and times of rows, as far as they have some."""
    return {name: values for name, values in (("groups", data.groups), ("time", data.time)) if values is not None}
