"""Columns with many categories as the shares of the classes among the rows of each category (target encoding)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder
from threadpoolctl import threadpool_limits

from quorate.data.dataset import Dataset, Inputs
from quorate.data.features import Encoding, Features, Matrix, load_features
from quorate.data.signature import TableSignature
from quorate.data.standardize import Scheme
from quorate.data.table import Table
from quorate.data.table_features import fit_table_features, scaling

MANY_CATEGORIES = 64
"""Number of categories above which a column is encoded by its labels: with one column per category, the rarest of more
categories share one. An assumption, not a measurement."""
_FOLDS = 5
"""Number of parts of the training rows, each encoded by the labels of the others: scikit-learn's default."""
_ENCODERS, _SCALER = "target.skops", "target_scaler.skops"
_TRUSTED = ("numpy.dtype",)
"""Types that the files may contain besides those that skops trusts."""


class TargetFeatures:
    """The shares of the classes for each column with many categories, then the features of the other columns."""

    def __init__(
        self,
        encoders: Sequence[TargetEncoder],
        scaler: Any,
        others: Features | None,
        *,
        names: Sequence[str],
        signature: TableSignature,
    ) -> None:
        self.encoders, self.scaler, self.others = encoders, scaler, others
        self.names, self.signature = list(names), signature

    @property
    def width(self) -> int:
        return len(self.encoders) * len(self.names) + (0 if self.others is None else self.others.width)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return () if self.others is None else self.others.cardinalities

    def __call__(self, x: Inputs) -> Matrix:
        assert isinstance(x, Table), "inputs are checked at the door"
        return self.joined(_encoded(self.encoders, _texts(x, self.names)), x)

    def joined(self, shares: NDArray[np.float64], x: Table) -> Matrix:
        """Return the features of the rows `x` with these shares (n, classes * columns)."""
        with threadpool_limits(1):
            scaled = shares if self.scaler is None else self.scaler.transform(shares)
        parts = [scaled.astype(np.float32)]
        if self.others is not None:
            parts.append(self.others(_without(x, self.names)))
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def save(self, folder: Path) -> dict[str, Any]:
        import skops.io  # imports every scikit-learn estimator, which takes seconds

        given = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
        skops.io.dump(list(self.encoders), folder / _ENCODERS, **given)
        if self.scaler is not None:
            skops.io.dump(self.scaler, folder / _SCALER, **given)
        return {
            "input": self.signature.to_json(),
            "targets": self.names,
            "scaled": self.scaler is not None,
            "others": None if self.others is None else self.others.save(folder),
        }


def fit_target_features(
    train: Dataset, *, standardize: Scheme, encoding: Encoding, seed: int
) -> tuple[Features, Matrix]:
    """Fit to the training rows; return the features, and the matrix to train on.

    In this matrix, a row is encoded by the labels of other rows (of other groups, if there are groups), so that its own
    label does not leak into its features. Without columns of more than `MANY_CATEGORIES` categories these are the usual
    features.
    """
    table = train.x
    assert isinstance(table, Table), "the plan rejects images"
    names = [name for name in table.signature.names("categorical") if table.frame[name].nunique() > MANY_CATEGORIES]
    if not names:
        usual = fit_table_features(table, standardize=standardize, encoding=encoding)
        return usual, usual(table)
    texts, labels = _texts(table, names), _indicators(train)
    shares = np.empty((len(table), labels.shape[1] * len(names)))
    for others, part in _splits(train, seed):
        shares[part] = _encoded(_fitted(texts[others], labels[others]), texts[part])
    steps = scaling(standardize, rows=len(table), varies=bool((shares != shares[0]).any()))
    with threadpool_limits(1):
        scaler = make_pipeline(*steps).fit(shares) if steps else None
    rest = _without(table, names)
    features = TargetFeatures(
        _fitted(texts, labels),
        scaler,
        fit_table_features(rest, standardize=standardize, encoding=encoding) if rest.signature.columns else None,
        names=names,
        signature=table.signature,
    )
    return features, features.joined(shares, table)


def load_target_features(folder: Path, saved: Mapping[str, Any], signature: TableSignature) -> TargetFeatures:
    """Load what `save` wrote; the files can contain only types of scikit-learn."""
    import skops.io

    return TargetFeatures(
        skops.io.load(folder / _ENCODERS, trusted=list(_TRUSTED)),
        skops.io.load(folder / _SCALER, trusted=list(_TRUSTED)) if saved["scaled"] else None,
        None if saved["others"] is None else load_features(folder, saved["others"]),
        names=saved["targets"],
        signature=signature,
    )


def _indicators(train: Dataset) -> NDArray[np.float64]:
    """Return whether each row belongs to each class, (n, K); of two classes, only the second one."""
    classes = np.arange(1, 2) if train.n_classes == 2 else np.arange(train.n_classes)
    belongs: NDArray[np.float64] = (train.y[:, None] == classes).astype(np.float64)
    return belongs


def _fitted(texts: NDArray[np.object_], labels: NDArray[np.float64]) -> list[TargetEncoder]:
    """Return one encoder per column of `labels`, with scikit-learn's smoothing toward the mean of all rows."""
    return [TargetEncoder(target_type="continuous").fit(texts, column) for column in labels.T]


def _encoded(encoders: Sequence[TargetEncoder], texts: NDArray[np.object_]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.concatenate([encoder.transform(texts) for encoder in encoders], axis=1)
    return shares


def _splits(train: Dataset, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return pairs of rows: those to learn from, and those to encode."""
    groups = train.groups
    if groups is not None and len(np.unique(groups)) > 1:
        folds: Any = GroupKFold(min(_FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    else:
        folds, groups = KFold(min(_FOLDS, len(train)), shuffle=True, random_state=seed), None
    return list(folds.split(train.y, groups=groups))


def _texts(table: Table, names: Sequence[str]) -> NDArray[np.object_]:
    """Return the categories of these columns as Python text, with NaN for missing ones."""
    return table.frame[list(names)].astype(object).to_numpy()


def _without(table: Table, names: Sequence[str]) -> Table:
    """Return the table without these columns."""
    signature = TableSignature(tuple(column for column in table.signature.columns if column.name not in names))
    return Table(table.frame[signature.names()], signature)
