"""The leaderboard as a data frame, for Python programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from quorate.report.leaderboard import METRICS


def as_frame(board: Mapping[str, Any]) -> pd.DataFrame:
    """One row for the ensemble, then the members by out-of-fold log-loss; unknown values are NaN.

    Columns: name, kind (the ensemble's is its combiner), status, weight, temperature, then accuracy,
    nll (nats), ece and brier as `oof_` and, where there are test rows, `test_`; fit_seconds. The
    ensemble's out-of-fold metrics are cross-fitted.
    """
    ensemble = board["ensemble"]
    whole = {"name": "ensemble", "kind": ensemble["combiner"], "status": "ok", "temperature": ensemble["temperature"]}
    members = sorted(board["members"], key=lambda row: row["oof"]["nll"] if row["oof"] else float("inf"))
    splits = ("oof", "test") if any(row.get("test") for row in (ensemble, *members)) else ("oof",)
    named = [f"{split}_{metric}" for split in splits for metric in METRICS]
    rows = [{**row, **_figures(row)} for row in (whole | {split: ensemble.get(split) for split in splits}, *members)]
    columns = ["name", "kind", "status", "weight", "temperature", *named, "fit_seconds"]
    return pd.DataFrame(rows, columns=columns)


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    return {f"{split}_{name}": value for split in ("oof", "test") for name, value in (row.get(split) or {}).items()}
