"""Loads the ensemble of a finished run into a Python program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle, Prediction
from quorate.data.in_memory import as_inputs
from quorate.errors import UserError
from quorate.report.frame import as_frame
from quorate.runs.folder import BOARD
from quorate.runs.lookup import bundle_folder
from quorate.scoring.inputs import InputRows, read_inputs, unreadable_files
from quorate.scoring.score import ScoredRows, ask
from quorate.scoring.uncertainty import UncertaintyOptions, sets_of


class Ensemble:
    """A trained ensemble that predicts.

    Rows are uint8 images (n, H, W) or (n, H, W, C), a data frame with the columns of the training
    data, an array (n, columns) in their order, or paths of files as `quorate predict` takes them.

    >>> ensemble = quorate.load("runs/digits-20260105-101500")     # doctest: +SKIP
    >>> ensemble.predict(images)                                   # doctest: +SKIP
    array(['4', '7'], dtype='<U1')
    """

    def __init__(self, bundle: Bundle, leaderboard: pd.DataFrame) -> None:
        self.bundle = bundle
        self.leaderboard = leaderboard
        """One row for the ensemble and one for each member; see `quorate.report.frame.as_frame`."""

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The class names (K,), in the order of the columns of `predict_proba`."""
        return np.array(self.bundle.class_names)

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Probabilities (n, K); raises `ValueError` for rows that are not what the ensemble learned from."""
        return self._answers(x).proba

    def predict(self, x: Any) -> NDArray[np.str_]:
        """The name of the most probable class of each row (n,)."""
        named: NDArray[np.str_] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return named

    def predict_uncertainty(self, x: Any) -> pd.DataFrame:
        """The uncertainty of each row: `entropy` = `aleatoric` + `epistemic` in nats, `variation_ratio`."""
        found = self._answers(x, uncertainty=True).uncertainty
        assert found is not None, "asked for"
        return pd.DataFrame(vars(found))

    def predict_sets(self, x: Any, *, coverage: float = 0.9, by_class: bool = False) -> NDArray[np.bool_]:
        """The classes (n, K) in each row's conformal set, which holds the true one with at least that probability.

        Raises `ValueError` for a bundle without figures of rows that it had not seen.
        """
        asked = UncertaintyOptions(coverage=coverage, by_class=by_class)
        asked.check()
        return sets_of(self.predict_proba(x), self.bundle, asked)

    def _answers(self, x: Any, *, uncertainty: bool = False) -> Prediction | ScoredRows:
        paths = _paths(x)
        if paths is not None:
            return self._scored(read_inputs(paths, self.bundle), uncertainty=uncertainty)
        try:
            rows = as_inputs(x, self.bundle.signature)
        except ValueError as error:
            raise UserError(str(error)) from None
        if not len(rows):
            raise UserError("there are no rows to predict")
        return self.bundle.predict(rows, uncertainty=uncertainty)

    def _scored(self, rows: InputRows, *, uncertainty: bool) -> ScoredRows:
        """The answers for files; each must have one, since only their order says which is which."""
        answers = ask(self.bundle, rows, uncertainty=uncertainty)
        if rows.unreadable:
            raise UserError(unreadable_files(rows.unreadable, len(answers.names) + len(rows.unreadable)))
        return answers

    def __repr__(self) -> str:
        members = sum(bool(entry["folds"]) for entry in self.bundle.manifest["members"])
        return f"<Ensemble of {members} members for {self.bundle.signature}, {len(self.classes_)} classes>"


def load(run: str | Path | None = None, *, allow_code: bool = False) -> Ensemble:
    """The ensemble of a run.

    `run` is a run folder or the name of one in `runs` (or QUORATE_RUNS), a bundle's folder, or the URI
    of a model in MLflow (`models:/digits@champion`); the newest finished run when left out. Every file
    is verified before it is read, and nothing in it executes, but for an ensemble that needs code of your own
    (`module:name`): it is imported if you trust the files and set `allow_code`. Raises `UserError`, a `ValueError`.

    >>> quorate.load("models:/digits@champion").predict_proba(images).shape     # doctest: +SKIP
    (2, 10)
    """
    folder = bundle_folder(str(run) if run is not None else None)
    bundle = Bundle.load(folder, allow_code=allow_code)
    return Ensemble(bundle, as_frame(_board(folder, bundle)))


def _board(folder: Path, bundle: Bundle) -> dict[str, Any]:
    """The leaderboard of the bundle's run, or what the bundle knows of it where that lies elsewhere."""
    path = folder.parent / BOARD
    if path.is_file():
        board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if board["run"] == bundle.manifest["run"]:
            return board
    manifest = bundle.manifest
    combination = manifest["combination"]
    temperature = combination["calibration"].get("temperature")
    ensemble = {"combiner": combination["kind"], "temperature": temperature, **manifest["metrics"]}
    return {"ensemble": ensemble, "members": manifest["members"]}


def _paths(x: Any) -> list[Path] | None:
    """`x` as paths of files, where that is what it is."""
    if isinstance(x, str | Path):
        return [Path(x)]
    if isinstance(x, Sequence) and len(x) and all(isinstance(item, str | Path) for item in x):
        return [Path(item) for item in x]
    return None
