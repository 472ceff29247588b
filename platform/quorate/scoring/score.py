"""Predict the probabilities of many rows, and create the table of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quorate.bundle import Bundle, Prediction, QuorumLost
from quorate.data.dataset import Inputs
from quorate.data.table import Table
from quorate.ensemble.uncertainty import Uncertainty, joined
from quorate.errors import UserError
from quorate.scoring.inputs import Chunk, Unreadable

_LONGEST = 80
"""Maximum number of characters of a value in a note."""


@dataclass(frozen=True)
class ScoredRows:
    """The predictions of an ensemble for N rows."""

    names: list[str]
    proba: NDArray[np.float64]
    """(N, K), in the order of the class names."""
    members: dict[str, NDArray[np.float32]]
    """Probabilities (N, K) of each member that predicted all rows; empty unless requested."""
    lost: tuple[str, ...]
    """Members that failed for some rows."""
    uncertainty: Uncertainty | None = None
    """The members' uncertainty, if requested."""
    notes: tuple[str, ...] = ()
    """A sentence for each column with values unlike those of the training rows."""

    def named(self, shown: Callable[[str], str]) -> ScoredRows:
        """Return a copy that names the rows as `shown` returns them."""
        return replace(self, names=list(map(shown, self.names)))


def ask(bundle: Bundle, rows: Iterable[Chunk], *, members: bool = False, uncertainty: bool = False) -> ScoredRows:
    """Predict in chunks; raises `UserError` if there are no rows, or if too few members make predictions."""
    names: list[str] = []
    whole: list[NDArray[np.float64]] = []
    each: dict[str, list[NDArray[np.float32]]] = {}
    lost: dict[str, None] = {}
    uncertainties: list[Uncertainty] = []
    unfamiliar = _Unfamiliar()
    for chunk, x in rows:
        names += chunk
        try:
            prediction = bundle.predict(x, members=members, uncertainty=uncertainty)
        except QuorumLost as error:
            where = "" if error.row is None else f" for {chunk[error.row]}"
            raise UserError(
                f"the ensemble is below its quorum{where}: {error.problem}; the log above contains the reasons"
            ) from error
        unfamiliar.add(bundle, x, prediction)
        whole.append(prediction.proba)
        lost |= dict.fromkeys(prediction.lost)
        if prediction.uncertainty is not None:
            uncertainties.append(prediction.uncertainty)
        for name, proba in (prediction.members or {}).items():
            each.setdefault(name, []).append(proba)
    if not names:
        raise UserError("there are no rows to score")
    answered = {name: np.concatenate(parts) for name, parts in each.items() if name not in lost}
    uncertainty_of_all = joined(uncertainties) if uncertainties else None
    return ScoredRows(
        names, np.concatenate(whole), answered, tuple(lost), uncertainty_of_all, unfamiliar.notes(len(names))
    )


class _Unfamiliar:
    """For each column, the number of rows with values unlike those of the training rows, and an example."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, str]] = {}

    def add(self, bundle: Bundle, x: Inputs, prediction: Prediction) -> None:
        for column, rows in prediction.unfamiliar.items():
            assert isinstance(x, Table) and bundle.known is not None, "only tables have columns"
            self._counts[column] += int(rows.sum())
            if column not in self._examples:
                value = x.frame[column].iloc[int(rows.argmax())]
                shown = repr(value[:_LONGEST]) if isinstance(value, str) else f"{value:g}"
                self._examples[column] = bundle.known.what(column), shown

    def notes(self, rows: int) -> tuple[str, ...]:
        return tuple(
            f"column {column!r}: {count:,} of {rows:,} rows contain {what}, such as {example}"
            for column, count in self._counts.items()
            for what, example in [self._examples[column]]
        )


def scores_of(answers: ScoredRows, bundle: Bundle) -> pd.DataFrame:
    """Return one row per input: `input`, `class`, and the probability of each class in its own column."""
    classes = np.array(bundle.class_names)
    table = pd.DataFrame(answers.proba, columns=[f"p({name})" for name in classes])
    table.insert(0, "class", classes[answers.proba.argmax(axis=1)])
    table.insert(0, "input", answers.names)
    return table


def with_unreadable(scores: pd.DataFrame, unreadable: Sequence[Unreadable]) -> pd.DataFrame:
    """Return the scores with a row inserted for each unreadable picture, at its position; this row has only an
    `error`."""
    total = len(scores) + len(unreadable)
    places = np.delete(np.arange(total), [row.position for row in unreadable])
    whole = scores.set_axis(places).reindex(range(total))
    for name in scores.select_dtypes(bool):
        whole[name] = whole[name].eq(True)  # False for an unreadable row
    errors = {row.position: row for row in unreadable}
    whole["error"] = pd.Series({place: row.reason for place, row in errors.items()}, dtype=object)
    whole["input"] = whole["input"].fillna(pd.Series({place: row.name for place, row in errors.items()}))
    return whole


def records_of(scores: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return a dictionary per row, for JSON, with None for missing values."""
    return scores.astype(object).where(scores.notna(), None).to_dict(orient="records")
