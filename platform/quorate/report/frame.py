"""The leaderboard as a data frame, for Python programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quorate.report.leaderboard import METRICS
from quorate.runs.leaderboard import Leaderboard, SplitScores


@dataclass(frozen=True)
class FrameRow:
    """One row of the data frame: the ensemble or a member. None means unknown."""

    name: str
    kind: str
    temperature: float | None
    oof: SplitScores | None
    test: SplitScores | None
    status: str | None = None
    weight: float | None = None
    fit_seconds: float | None = None


def as_frame(board: Leaderboard) -> pd.DataFrame:
    """One row for the ensemble, then the members by out-of-fold log-loss; unknown values are NaN.

    Columns: name, kind (for the ensemble, its combiner), status, weight, temperature; accuracy, nll (in nats), ece and
    brier with the prefix `oof_` and, if there are test rows, with the prefix `test_`; fit_seconds. The ensemble's
    out-of-fold metrics are cross-fitted.
    """
    found = board.ensemble
    ensemble = FrameRow("ensemble", found.combiner, found.temperature, found.oof, found.test, "ok")
    members = (
        FrameRow(row.name, row.kind, row.temperature, row.oof, row.test, row.status, row.weight, row.fit_seconds)
        for row in board.members
    )
    return frame_of(ensemble, members)


def frame_of(ensemble: FrameRow, members: Iterable[FrameRow]) -> pd.DataFrame:
    """The data frame of these rows, see `as_frame`."""
    ranked = sorted(members, key=lambda row: row.oof.nll if row.oof is not None else float("inf"))
    rows = [ensemble, *ranked]
    splits = ("oof", "test") if any(row.test is not None for row in rows) else ("oof",)
    named = [f"{split}_{metric}" for split in splits for metric in METRICS]
    columns = ["name", "kind", "status", "weight", "temperature", *named, "fit_seconds"]
    return pd.DataFrame([_values(row) for row in rows], columns=columns)


def _values(row: FrameRow) -> dict[str, Any]:
    """The known values of a row by column."""
    scores = {"oof": row.oof, "test": row.test}
    values: dict[str, Any] = {
        f"{split}_{name}": value
        for split, found in scores.items()
        if found is not None
        for name, value in found.by_name.items()
    }
    about = {
        "name": row.name,
        "kind": row.kind,
        "status": row.status,
        "weight": row.weight,
        "temperature": row.temperature,
        "fit_seconds": row.fit_seconds,
    }
    return values | {name: value for name, value in about.items() if value is not None}
