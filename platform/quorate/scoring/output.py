"""Scores as files: CSV, Parquet or NumPy archives, there whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quorate.errors import UserError

OUTPUTS = (".csv", ".parquet", ".npz")


def check_output(path: Path) -> None:
    """Raise `UserError` before any work where the scores could not be written."""
    if path.suffix not in OUTPUTS:
        raise UserError(f"-o {path}: the ending must be one of {', '.join(OUTPUTS)}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {path}: there is no folder {path.absolute().parent}")


def check_output_folder(path: Path) -> None:
    """Raise `UserError` before any work where `path` can be no folder."""
    if path.exists() and not path.is_dir():
        raise UserError(f"-o {path}: this is a file; name a folder")
    if not path.absolute().parent.is_dir():
        raise UserError(f"-o {path}: there is no folder {path.absolute().parent}")


def write_scores(path: Path, scores: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Write beside its place, then rename."""
    partial = path.with_name(f".{path.name}.partial{path.suffix}")
    if path.suffix == ".csv":
        scores.to_csv(partial, index=False)
    elif path.suffix == ".parquet":
        scores.to_parquet(partial, index=False)
    else:
        proba = scores[[f"p({name})" for name in class_names]].to_numpy()
        inputs, classes = scores["input"].to_numpy(str), scores["class"].to_numpy(str)
        np.savez(
            partial, allow_pickle=False, proba=proba, input=inputs, prediction=classes, classes=np.array(class_names)
        )
    partial.replace(path)
