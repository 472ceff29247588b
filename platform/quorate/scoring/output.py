"""Write scores atomically to CSV, Parquet or NumPy archives."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.errors import UserError

OUTPUTS = (".csv", ".parquet", ".npz")
BESIDE = ("entropy", "aleatoric", "epistemic", "variation_ratio", "set", "answered", "error")
"""Columns of the scores besides the input, the class and the probabilities: uncertainty, and the error of an unreadable
picture."""


def check_output(path: Path, inputs: Sequence[Path] = (), *, endings: Sequence[str] = OUTPUTS) -> None:
    """Raise `UserError` before any work is done if the file cannot be written, or would replace an input."""
    if path.suffix.lower() not in endings:
        raise UserError(f"-o {path}: the file name must end with one of {', '.join(endings)}")
    if path.is_dir():
        raise UserError(f"-o {path}: this is a folder; name a file")
    if path.exists() and any(given.exists() and given.samefile(path) for given in inputs):
        raise UserError(f"-o {path}: this is an input file, which the output would replace; name another file")
    _check_writable(path, path.absolute().parent)


def check_output_folder(path: Path) -> None:
    """Raise `UserError` before any work is done if `path` cannot be a folder."""
    if path.exists() and not path.is_dir():
        raise UserError(f"-o {path}: this is a file; name a folder")
    _check_writable(path, path if path.is_dir() else path.absolute().parent)


def write_scores(path: Path, scores: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Write to a temporary file, then rename it; raises `UserError` and leaves no file if that fails."""
    ending = path.suffix.lower()
    partial = path.with_name(f".{path.name}.partial{ending}")
    with writing(path):
        try:
            if ending == ".csv":
                scores.to_csv(partial, index=False)
            elif ending == ".parquet":
                scores.to_parquet(partial, index=False)
            else:
                np.savez(partial, allow_pickle=False, **_arrays(scores, class_names))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system, such as a full disk, into a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"-o {path}: cannot be written: {error.strerror or error}") from None


def _arrays(scores: pd.DataFrame, class_names: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {
        "proba": scores[[f"p({name})" for name in class_names]].to_numpy(),
        "input": scores["input"].to_numpy(str),
        "prediction": scores["class"].fillna("").to_numpy(str),
        "classes": np.array(class_names),
        **{name: _array(scores[name]) for name in scores if name in BESIDE},
    }


def _array(values: pd.Series) -> NDArray[Any]:
    return values.to_numpy() if pd.api.types.is_numeric_dtype(values) else values.fillna("").to_numpy(str)


def _check_writable(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"-o {path}: the folder {folder} does not exist; create it, or choose another path")
    with writing(path), tempfile.TemporaryFile(dir=folder):
        pass
