"""Write an evaluation to a folder: metrics, scores and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.ensemble.breakdown import reliability
from quorate.json_text import json_text
from quorate.report.plots import confusion, reliability_diagram


def write_evaluation(
    folder: Path, found: dict[str, Any], scores: pd.DataFrame, proba: NDArray[np.float64], y: NDArray[np.int64]
) -> None:
    """Write `scores.csv` (with the true class), `confusion.png`, `reliability.png`, and `evaluation.json` last."""
    folder.mkdir(exist_ok=True)
    names = [row["class"] for row in found["classes"]]
    labelled = scores.copy()
    labelled.insert(1, "label", np.array(names)[y])
    labelled.to_csv(folder / "scores.csv", index=False)
    title = f"{found['run'] or found['job']}, {found['rows']:,} rows"
    confusion(folder / "confusion.png", proba, y, names, title)
    ece = found["ensemble"]["ece"]["value"]
    reliability_diagram(folder / "reliability.png", reliability(proba, y), f"{title}, ECE {ece:.4f}")
    (folder / "evaluation.json").write_text(json_text(found), encoding="utf-8")
