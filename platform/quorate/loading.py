"""Load the ensemble of a finished run in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle, DeviceChoice, Prediction
from quorate.data.in_memory import as_inputs
from quorate.errors import UserError
from quorate.report.frame import FrameRow, as_frame, frame_of
from quorate.runs.errors import RunError
from quorate.runs.folder import BOARD
from quorate.runs.leaderboard import Leaderboard, SplitScores
from quorate.runs.lookup import bundle_folder
from quorate.scoring.inputs import InputRows, read_inputs, unreadable_files
from quorate.scoring.score import ScoredRows, ask
from quorate.scoring.uncertainty import UncertaintyOptions, sets_of


class Ensemble:
    """A trained ensemble that predicts.

    Rows are uint8 images (n, H, W) or (n, H, W, C), a data frame with the columns of the training
    data, an array (n, columns) with the columns in the same order, or paths of files as in `quorate predict`.

    >>> ensemble = quorate.load("runs/digits-20260105-101500")     # doctest: +SKIP
    >>> ensemble.predict(images)                                   # doctest: +SKIP
    array(['4', '7'], dtype='<U1')
    """

    def __init__(self, bundle: Bundle, leaderboard: pd.DataFrame) -> None:
        self.bundle = bundle
        self.leaderboard = leaderboard
        """One row for the ensemble and one per member; see `quorate.report.frame.as_frame`."""

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The class names (K,), in the order of the columns of `predict_proba`."""
        return np.array(self.bundle.class_names)

    def predict_proba(self, x: Any) -> NDArray[np.float64]:
        """Return probabilities (n, K); raises `ValueError` for rows that differ from the training rows in type or
        shape."""
        return self._answers(x).proba

    def predict(self, x: Any) -> NDArray[np.str_]:
        """Return the name of the most probable class of each row (n,)."""
        named: NDArray[np.str_] = self.classes_[self.predict_proba(x).argmax(axis=1)]
        return named

    def predict_uncertainty(self, x: Any) -> pd.DataFrame:
        """Return the uncertainty of each row: `entropy` = `aleatoric` + `epistemic` in nats, and `variation_ratio`."""
        found = self._answers(x, uncertainty=True).uncertainty
        assert found is not None, "requested"
        return pd.DataFrame(vars(found))

    def predict_sets(self, x: Any, *, coverage: float = 0.9, by_class: bool = False) -> NDArray[np.bool_]:
        """Return a mask (n, K) of the classes in each row's conformal set.

        A set contains the true class with a probability of at least `coverage`; with `by_class`, this holds for the
        rows of each class. Raises `ValueError` for a bundle without the calibration statistics that this requires.
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
        """Predict files. Raises `UserError` if one cannot be read, because results are in the order of the files."""
        answers = ask(self.bundle, rows, uncertainty=uncertainty)
        if rows.unreadable:
            raise UserError(unreadable_files(rows.unreadable, len(answers.names) + len(rows.unreadable)))
        return answers

    def __repr__(self) -> str:
        members = len(self.bundle.manifest.packed)
        return f"<Ensemble of {members} members for {self.bundle.signature}, {len(self.classes_)} classes>"


def load(run: str | Path | None = None, *, allow_code: bool = False, device: DeviceChoice = "auto") -> Ensemble:
    """Load the ensemble of a run.

    `run` is a run folder or its name in `runs` (or QUORATE_RUNS), the folder of a bundle, or the URI of a
    model in MLflow (`models:/digits@champion`); by default, the newest finished run. Every file is verified
    before it is read, and nothing in it executes. If the ensemble needs your own code (`module:name`), set
    `allow_code` to import it; do this only for files that you trust. The networks predict on `device`: `auto` takes an
    accelerator if there is one. Raises `UserError`, a `ValueError`.

    >>> quorate.load("models:/digits@champion").predict_proba(images).shape     # doctest: +SKIP
    (2, 10)
    """
    folder = bundle_folder(str(run) if run is not None else None)
    bundle = Bundle.load(folder, allow_code=allow_code, device=device)
    return Ensemble(bundle, _leaderboard(folder, bundle))


def _leaderboard(folder: Path, bundle: Bundle) -> pd.DataFrame:
    """The leaderboard of the bundle's run; if it is not available or cannot be read, the values in the bundle."""
    board = _board(folder.parent / BOARD)
    if board is not None and board.run == bundle.manifest.run:
        return as_frame(board)
    manifest = bundle.manifest
    combination, metrics = manifest.combination, manifest.metrics
    temperature = combination.combination().temperature
    ensemble = FrameRow("ensemble", combination.kind, temperature, _scores(metrics.oof), _scores(metrics.test), "ok")
    members = (
        FrameRow(
            member.name,
            member.kind,
            member.temperature,
            _scores(member.oof),
            _scores(member.test),
            weight=member.weight,
        )
        for member in manifest.members
    )
    return frame_of(ensemble, members)


def _board(path: Path) -> Leaderboard | None:
    """The leaderboard of a run; None if there is none, and if it is damaged or of a later version."""
    try:
        return Leaderboard.read(path) if path.is_file() else None
    except RunError:
        return None


def _scores(figures: Mapping[str, float | None] | None) -> SplitScores | None:
    return SplitScores.model_validate(figures) if figures else None


def _paths(x: Any) -> list[Path] | None:
    """Return `x` as paths of files, or None if it is not paths."""
    if isinstance(x, str | Path):
        return [Path(x)]
    if isinstance(x, Sequence) and len(x) and all(isinstance(item, str | Path) for item in x):
        return [Path(item) for item in x]
    return None
